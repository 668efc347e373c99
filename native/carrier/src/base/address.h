// SPDX-License-Identifier: Apache-2.0
// IP addresses and ports as the kernel maps hold them: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weft {

struct Ip {
  std::array<uint8_t, 16> bytes{};
  bool operator==(const Ip&) const = default;
  bool IsV4() const;
  std::string Text() const;
};

struct Address {
  Ip ip;
  uint16_t port = 0;  // host order
  bool operator==(const Address&) const = default;
  // "1.2.3.4:80" or "[2001:db8::1]:80".
  std::string Text() const;
};

Address FromSockaddr(const sockaddr_storage& from);
// Returns the length. An IPv4 address becomes AF_INET if `v4`, else an IPv4-mapped AF_INET6.
socklen_t ToSockaddr(const Address& from, sockaddr_storage* to, bool v4);
// "1.2.3.4:80", "[::1]:80"; nothing else. The inverse of Text.
std::optional<Address> ParseAddress(std::string_view text);
std::optional<Ip> ParseIp(std::string_view text);

}  // namespace weft

template <>
struct std::hash<weft::Ip> {
  size_t operator()(const weft::Ip& ip) const noexcept {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(ip.bytes.data()), ip.bytes.size()});
  }
};
template <>
struct std::hash<weft::Address> {
  size_t operator()(const weft::Address& address) const noexcept {
    return std::hash<weft::Ip>()(address.ip) * 31 + address.port;
  }
};
