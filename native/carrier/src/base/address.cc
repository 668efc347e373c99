// SPDX-License-Identifier: Apache-2.0
#include "base/address.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

namespace weft {

namespace {
constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
}

bool Ip::IsV4() const { return memcmp(bytes.data(), kMappedPrefix, sizeof(kMappedPrefix)) == 0; }

std::string Ip::Text() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (IsV4())
    inet_ntop(AF_INET, bytes.data() + 12, text, sizeof(text));
  else
    inet_ntop(AF_INET6, bytes.data(), text, sizeof(text));
  return text;
}

std::string Address::Text() const {
  return ip.IsV4() ? ip.Text() + ":" + std::to_string(port) : "[" + ip.Text() + "]:" + std::to_string(port);
}

Address FromSockaddr(const sockaddr_storage& from) {
  Address address;
  if (from.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(from);
    memcpy(address.ip.bytes.data(), kMappedPrefix, sizeof(kMappedPrefix));
    memcpy(address.ip.bytes.data() + 12, &v4.sin_addr, 4);
    address.port = ntohs(v4.sin_port);
  } else if (from.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(from);
    memcpy(address.ip.bytes.data(), &v6.sin6_addr, 16);
    address.port = ntohs(v6.sin6_port);
  }
  return address;
}

socklen_t ToSockaddr(const Address& from, sockaddr_storage* to, bool v4) {
  memset(to, 0, sizeof(*to));
  if (v4 && from.ip.IsV4()) {
    auto* address = reinterpret_cast<sockaddr_in*>(to);
    address->sin_family = AF_INET;
    address->sin_port = htons(from.port);
    memcpy(&address->sin_addr, from.ip.bytes.data() + 12, 4);
    return sizeof(*address);
  }
  auto* address = reinterpret_cast<sockaddr_in6*>(to);
  address->sin6_family = AF_INET6;
  address->sin6_port = htons(from.port);
  memcpy(&address->sin6_addr, from.ip.bytes.data(), 16);
  return sizeof(*address);
}

std::optional<Ip> ParseIp(std::string_view text) {
  char copy[INET6_ADDRSTRLEN];
  // inet_pton would take what precedes a NUL.
  if (text.size() >= sizeof(copy) || text.find('\0') != std::string_view::npos) return std::nullopt;
  memcpy(copy, text.data(), text.size());
  copy[text.size()] = '\0';
  Ip ip;
  if (inet_pton(AF_INET, copy, ip.bytes.data() + 12) == 1) {
    memcpy(ip.bytes.data(), kMappedPrefix, sizeof(kMappedPrefix));
    return ip;
  }
  if (inet_pton(AF_INET6, copy, ip.bytes.data()) == 1) return ip;
  return std::nullopt;
}

std::optional<Address> ParseAddress(std::string_view text) {
  std::string_view host, port;
  if (text.starts_with('[')) {
    const size_t end = text.find("]:");
    if (end == std::string_view::npos) return std::nullopt;
    host = text.substr(1, end - 1);
    port = text.substr(end + 2);
    if (host.find(':') == std::string_view::npos) return std::nullopt;
  } else {
    const size_t end = text.find(':');
    if (end == std::string_view::npos) return std::nullopt;
    host = text.substr(0, end);
    port = text.substr(end + 1);
    if (host.find('.') == std::string_view::npos) return std::nullopt;
  }
  const std::optional<Ip> ip = ParseIp(host);
  uint16_t number = 0;
  const auto [last, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (!ip || port.empty() || port.size() > 5 || error != std::errc() || last != port.data() + port.size() || number == 0) return std::nullopt;
  return Address{*ip, number};
}

}  // namespace weft
