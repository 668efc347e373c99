// SPDX-License-Identifier: Apache-2.0
// weft_sock (bpf/lib/abi.h): what the eBPF programs know of a socket. The agent states the layout of the rows.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "base/address.h"
#include "base/fd.h"

namespace weft {

struct Dialed {
  Address dialed;
  Address picked;  // port 0: connect() picked none
};

// carrier.proto
struct SockLayout {
  static constexpr uint32_t kRowBytesMax = 256;
  uint32_t row_bytes = 0;
  uint32_t kind = 0, ip = 0, port = 0, chosen = 0, chosen_port = 0;
  uint32_t dialed = 0, own = 0;
  // Every field is in the row.
  bool IsValid() const;
};

class SockMap {
 public:
  // Replaces the map, for sockets that are opened from now on. The former map counts as well for a while, until the programs of the new
  // agent's build are attached. Thread-safe against the readers' calls. False, and nothing changes: the descriptor is not a map with rows of
  // this layout.
  bool Use(Fd map, const SockLayout& layout);
  // The address that the application dialed; nothing if the kernel has no record.
  std::optional<Dialed> DialedBy(int socket) const;
  // Marks a socket as the mesh's own before it connects: hooks do not capture it, and its handoff record names `client` (null: none).
  // False: errno is set. An unmarked socket must not connect.
  bool MarkOwn(int socket, const Address* client) const;

 private:
  struct Map {
    std::shared_ptr<const Fd> fd;
    SockLayout layout;
    uint32_t id = 0;
    std::shared_ptr<const Map> former;
    uint64_t former_until_ms = 0;
    const Map* FormerNow() const;
  };
  static std::optional<Dialed> DialedIn(const Map& map, int socket);
  static bool MarkIn(const Map& map, int socket, const Address* client);
  // Shared so that a call in progress keeps the former map.
  std::shared_ptr<const Map> Current() const;
  mutable std::mutex mutex_;
  std::shared_ptr<const Map> map_;
};

}  // namespace weft
