// SPDX-License-Identifier: Apache-2.0
#include "base/address.h"

#include <doctest/doctest.h>

#include "relay/client_address.h"

namespace weft {
namespace {

Address Of(const char* text) {
  const auto address = ParseAddress(text);
  REQUIRE(address);
  return *address;
}

TEST_CASE("text of addresses and back") {
  for (const char* text : {"1.2.3.4:80", "255.255.255.255:65535", "[2001:db8::1]:1", "[::1]:15008"}) CHECK(Of(text).Text() == text);
  CHECK(Of("[::ffff:1.2.3.4]:80") == Of("1.2.3.4:80"));
}

TEST_CASE("what is not an address") {
  for (const char* text : {"", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:080000", "1.2.3.4:+80", "1.2.3.4: 80",
                           "1.2.3.4:80 ", "1.2.3:80", "1.2.3.4.5:80", "01.2.3.4:80", "::1:80", "[::1]", "[::1]80", "[::1:80", "[]:80", "[1.2.3.4]:80",
                           "[fe80::1%eth0]:80", "name:80", "[::1]:80:90"})
    CHECK_MESSAGE(!ParseAddress(text), text);
  CHECK(!ParseAddress(std::string_view("1.2.3.4\0:80", 11)));
  CHECK(!ParseIp(std::string_view("1.2.3.4\0x", 9)));
  CHECK(!ParseAddress(std::string(100'000, '1')));
}

TEST_CASE("sockaddr of both families") {
  sockaddr_storage address;
  CHECK(ToSockaddr(Of("1.2.3.4:80"), &address, true) == sizeof(sockaddr_in));
  CHECK(FromSockaddr(address) == Of("1.2.3.4:80"));
  CHECK(ToSockaddr(Of("1.2.3.4:80"), &address, false) == sizeof(sockaddr_in6));
  CHECK(FromSockaddr(address) == Of("1.2.3.4:80"));
  CHECK(ToSockaddr(Of("[2001:db8::1]:80"), &address, true) == sizeof(sockaddr_in6));
  CHECK(FromSockaddr(address) == Of("[2001:db8::1]:80"));
}

TEST_CASE("the client of a captured connection has an address of the pod") {
  Pod pod;
  pod.addresses = {*ParseIp("10.0.0.1"), *ParseIp("fd00::1")};
  CHECK(OwnClient(pod, Of("10.0.0.1:5"), Of("1.2.3.4:80")) == Of("10.0.0.1:5"));
  CHECK(OwnClient(pod, Of("10.9.9.9:5"), Of("1.2.3.4:80")) == Of("10.0.0.1:5"));
  CHECK(OwnClient(pod, Of("10.9.9.9:5"), Of("[fd00::9]:80")) == Of("[fd00::1]:5"));
  pod.addresses.pop_back();
  CHECK(!OwnClient(pod, Of("[fd00::2]:5"), Of("[fd00::9]:80")));
}

TEST_CASE("the client that a tunnel states counts only if it has the tunnel's own address") {
  const Address remote = Of("10.0.0.1:40000");
  CHECK(ClientOfTunnel("for=\"10.0.0.1:1234\"", remote) == Of("10.0.0.1:1234"));
  CHECK(ClientOfTunnel("by=x;for=\"10.0.0.1:1234\";proto=tcp", remote) == Of("10.0.0.1:1234"));
  for (const char* text : {"", "for=", "for=\"", "for=\"10.0.0.2:1234\"", "for=\"10.0.0.1\"", "for=10.0.0.1:1234", "for=\"[::1]:1\""})
    CHECK(ClientOfTunnel(text, remote) == remote);
}

}  // namespace
}  // namespace weft
