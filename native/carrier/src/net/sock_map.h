// SPDX-License-Identifier: Apache-2.0
// weft_sock (bpf/lib/abi.h): what the eBPF programs know of a socket.
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

class SockMap {
 public:
  // Replaces the map, for sockets that are opened from now on. Thread-safe against the readers' calls.
  void Use(Fd map);
  // The address that the application dialed; nothing if the kernel has no record.
  std::optional<Dialed> DialedBy(int socket) const;
  // Marks a socket as the mesh's own before it connects: hooks do not capture it, and its handoff record names `client` (null: none).
  // False: errno is set. An unmarked socket must not connect.
  bool MarkOwn(int socket, const Address* client) const;

 private:
  // Shared so that a call in progress keeps the former map.
  std::shared_ptr<const Fd> Current() const;
  mutable std::mutex mutex_;
  std::shared_ptr<const Fd> map_;
};

// Size of a row of the map, as the agent's programs must have it (CarrierHello).
uint32_t SockRowBytes();

}  // namespace weft
