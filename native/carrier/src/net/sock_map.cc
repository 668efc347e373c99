// SPDX-License-Identifier: Apache-2.0
#include "net/sock_map.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace weft {

namespace abi {
extern "C" {
// _Static_assert is C's.
#define _Static_assert static_assert
#include "abi.h"
#undef _Static_assert
}
}  // namespace abi

namespace {

// A map of socket storage is keyed by the descriptor of a socket. Reading and writing it requires no capability, only the map's descriptor
// (from Linux 5.19 on).
int Bpf(bpf_cmd command, int map, int socket, abi::weft_sock* row) {
  const uint32_t key = static_cast<uint32_t>(socket);
  bpf_attr attributes;
  memset(&attributes, 0, sizeof(attributes));
  attributes.map_fd = static_cast<uint32_t>(map);
  attributes.key = reinterpret_cast<uintptr_t>(&key);
  attributes.value = reinterpret_cast<uintptr_t>(row);
  attributes.flags = BPF_ANY;
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof(attributes)));
}

Address AddressOf(const abi::weft_ip& ip, uint16_t port) {
  Address address;
  memcpy(address.ip.bytes.data(), ip.bytes, sizeof(ip.bytes));
  address.port = ntohs(port);
  return address;
}

}  // namespace

void SockMap::Use(Fd map) {
  auto next = std::make_shared<const Fd>(std::move(map));
  std::lock_guard lock(mutex_);
  map_.swap(next);
}

std::shared_ptr<const Fd> SockMap::Current() const {
  std::lock_guard lock(mutex_);
  return map_;
}

std::optional<Dialed> SockMap::DialedBy(int socket) const {
  const auto map = Current();
  if (!map) return std::nullopt;
  abi::weft_sock row{};
  if (Bpf(BPF_MAP_LOOKUP_ELEM, map->get(), socket, &row) != 0 || row.kind != abi::WEFT_SOCK_DIALED) return std::nullopt;
  Dialed dialed{AddressOf(row.ip, row.port), {}};
  if (row.chosen_port != 0) dialed.picked = AddressOf(row.chosen, row.chosen_port);
  return dialed;
}

bool SockMap::MarkOwn(int socket, const Address* client) const {
  const auto map = Current();
  if (!map) {
    errno = EBADF;
    return false;
  }
  abi::weft_sock row{};
  row.kind = abi::WEFT_SOCK_OWN;
  if (client) {
    memcpy(row.ip.bytes, client->ip.bytes.data(), sizeof(row.ip.bytes));
    row.port = htons(client->port);
  }
  return Bpf(BPF_MAP_UPDATE_ELEM, map->get(), socket, &row) == 0;
}

uint32_t SockRowBytes() { return sizeof(abi::weft_sock); }

}  // namespace weft
