// SPDX-License-Identifier: Apache-2.0
#include "relay/client_address.h"

namespace weft {

std::optional<Address> OwnClient(const Pod& pod, const Address& remote, const Address& dialed) {
  if (pod.HasAddress(remote.ip)) return remote;
  for (const Ip& own : pod.addresses)
    if (own.IsV4() == dialed.ip.IsV4()) return Address{own, remote.port};
  return std::nullopt;
}

Address ClientOfTunnel(std::string_view forwarded, const Address& remote) {
  constexpr std::string_view kFor = "for=\"";
  const size_t begin = forwarded.find(kFor);
  if (begin == std::string_view::npos) return remote;
  const std::string_view rest = forwarded.substr(begin + kFor.size());
  const size_t end = rest.find('"');
  if (end == std::string_view::npos) return remote;
  const std::optional<Address> stated = ParseAddress(rest.substr(0, end));
  return stated && stated->ip == remote.ip ? *stated : remote;
}

}  // namespace weft
