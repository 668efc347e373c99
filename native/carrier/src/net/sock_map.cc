// SPDX-License-Identifier: Apache-2.0
#include "net/sock_map.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/clock.h"

namespace weft {

namespace {

constexpr uint32_t kIpBytes = 16;
// As long as former listeners (relay/pod_listeners.cc).
constexpr uint64_t kFormerMs = 30'000;

struct Row {
  alignas(8) std::array<uint8_t, SockLayout::kRowBytesMax> bytes{};

  uint32_t U32(uint32_t offset) const {
    uint32_t value;
    memcpy(&value, bytes.data() + offset, sizeof(value));
    return value;
  }
  // The port is in network order.
  Address At(uint32_t ip, uint32_t port) const {
    Address address;
    uint16_t value;
    memcpy(address.ip.bytes.data(), bytes.data() + ip, kIpBytes);
    memcpy(&value, bytes.data() + port, sizeof(value));
    address.port = ntohs(value);
    return address;
  }
};

int Bpf(bpf_cmd command, bpf_attr* attributes) { return static_cast<int>(syscall(SYS_bpf, command, attributes, sizeof(*attributes))); }

// A map of socket storage is keyed by the descriptor of a socket. Reading and writing it requires no capability, only the map's descriptor
// (from Linux 5.19 on).
int OnRow(bpf_cmd command, int map, int socket, Row* row) {
  const uint32_t key = static_cast<uint32_t>(socket);
  bpf_attr attributes;
  memset(&attributes, 0, sizeof(attributes));
  attributes.map_fd = static_cast<uint32_t>(map);
  attributes.key = reinterpret_cast<uintptr_t>(&key);
  attributes.value = reinterpret_cast<uintptr_t>(row->bytes.data());
  attributes.flags = BPF_ANY;
  return Bpf(command, &attributes);
}

// The id of a map of socket storage with rows of this size, 0 if it is something else. The kernel copies whole rows.
uint32_t IdOf(int map, uint32_t row_bytes) {
  bpf_map_info info;
  memset(&info, 0, sizeof(info));
  bpf_attr attributes;
  memset(&attributes, 0, sizeof(attributes));
  attributes.info.bpf_fd = static_cast<uint32_t>(map);
  attributes.info.info_len = sizeof(info);
  attributes.info.info = reinterpret_cast<uintptr_t>(&info);
  if (Bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes) != 0 || info.type != BPF_MAP_TYPE_SK_STORAGE || info.value_size != row_bytes) return 0;
  return info.id;
}

}  // namespace

bool SockLayout::IsValid() const {
  const auto holds = [this](uint32_t offset, uint32_t bytes) { return offset <= row_bytes && bytes <= row_bytes - offset; };
  return row_bytes <= kRowBytesMax && holds(kind, sizeof(uint32_t)) && holds(ip, kIpBytes) && holds(port, sizeof(uint16_t)) &&
         holds(chosen, kIpBytes) && holds(chosen_port, sizeof(uint16_t)) && dialed != 0 && own != 0 && dialed != own;
}

bool SockMap::Use(Fd map, const SockLayout& layout) {
  if (!layout.IsValid()) return false;
  const uint32_t id = IdOf(map.get(), layout.row_bytes);
  if (id == 0) return false;
  Map next{std::make_shared<const Fd>(std::move(map)), layout, id, nullptr, 0};
  // Its own former map is left out: nothing of two builds ago is attached.
  const auto current = Current();
  if (current && current->id != id) {
    next.former = std::make_shared<const Map>(Map{current->fd, current->layout, current->id, nullptr, 0});
    next.former_until_ms = BootMs() + kFormerMs;
  } else if (current) {
    next.former = current->former;
    next.former_until_ms = current->former_until_ms;
  }
  auto replaced = std::make_shared<const Map>(std::move(next));
  std::lock_guard lock(mutex_);
  map_.swap(replaced);
  return true;
}

const SockMap::Map* SockMap::Map::FormerNow() const { return former && BootMs() < former_until_ms ? former.get() : nullptr; }

std::shared_ptr<const SockMap::Map> SockMap::Current() const {
  std::lock_guard lock(mutex_);
  return map_;
}

std::optional<Dialed> SockMap::DialedBy(int socket) const {
  const auto map = Current();
  if (!map) return std::nullopt;
  const Map* const former = map->FormerNow();
  std::optional<Dialed> dialed = DialedIn(*map, socket);
  return dialed || !former ? dialed : DialedIn(*former, socket);
}

std::optional<Dialed> SockMap::DialedIn(const Map& map, int socket) {
  const SockLayout& layout = map.layout;
  Row row;
  if (OnRow(BPF_MAP_LOOKUP_ELEM, map.fd->get(), socket, &row) != 0 || row.U32(layout.kind) != layout.dialed) return std::nullopt;
  Dialed dialed{row.At(layout.ip, layout.port), {}};
  const Address picked = row.At(layout.chosen, layout.chosen_port);
  if (picked.port != 0) dialed.picked = picked;
  return dialed;
}

bool SockMap::MarkOwn(int socket, const Address* client) const {
  const auto map = Current();
  if (!map) {
    errno = EBADF;
    return false;
  }
  const Map* const former = map->FormerNow();
  return MarkIn(*map, socket, client) && (!former || MarkIn(*former, socket, client));
}

bool SockMap::MarkIn(const Map& map, int socket, const Address* client) {
  const SockLayout& layout = map.layout;
  Row row;
  memcpy(row.bytes.data() + layout.kind, &layout.own, sizeof(layout.own));
  if (client) {
    const uint16_t port = htons(client->port);
    memcpy(row.bytes.data() + layout.ip, client->ip.bytes.data(), kIpBytes);
    memcpy(row.bytes.data() + layout.port, &port, sizeof(port));
  }
  return OnRow(BPF_MAP_UPDATE_ELEM, map.fd->get(), socket, &row) == 0;
}

}  // namespace weft
