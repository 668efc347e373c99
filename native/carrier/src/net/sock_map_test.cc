// SPDX-License-Identifier: Apache-2.0
#include "net/sock_map.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "net/test_sock_map.h"

namespace weft {
namespace {

// Offsets of bpf/lib/abi.h, written down once more.
constexpr size_t kPort = 16, kChosenPort = 18, kKind = 20, kChosen = 24;
constexpr uint32_t kOwn = 2, kDialed = 6;

struct Fixture {
  Fixture() : raw(MakeSockMap()) {
    if (raw.valid()) map.Use(Fd(dup(raw.get())));
  }
  bool Call(bpf_cmd command, std::vector<uint8_t>* row) {
    const int key = socket.get();
    bpf_attr attributes;
    memset(&attributes, 0, sizeof(attributes));
    attributes.map_fd = static_cast<uint32_t>(raw.get());
    attributes.key = reinterpret_cast<uintptr_t>(&key);
    attributes.value = reinterpret_cast<uintptr_t>(row->data());
    return BpfCall(command, &attributes) == 0;
  }
  Fd raw;
  SockMap map;
  Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::vector<uint8_t> row = std::vector<uint8_t>(SockRowBytes());
};

TEST_CASE("without a map nothing was dialed, and no socket may connect") {
  SockMap map;
  CHECK(!map.DialedBy(0));
  CHECK(!map.MarkOwn(0, nullptr));
  CHECK(errno == EBADF);
}

TEST_CASE_FIXTURE(Fixture, "the address that was dialed, and the endpoint that was picked") {
  if (!raw.valid()) return;
  CHECK(!map.DialedBy(socket.get()));
  const Address dialed = *ParseAddress("10.0.0.1:80"), picked = *ParseAddress("[fd00::1]:8080");
  memcpy(row.data(), dialed.ip.bytes.data(), 16);
  const uint16_t port = htons(80), chosen = htons(8080);
  memcpy(row.data() + kPort, &port, 2);
  memcpy(row.data() + kKind, &kDialed, 4);
  REQUIRE(Call(BPF_MAP_UPDATE_ELEM, &row));
  REQUIRE(map.DialedBy(socket.get()));
  CHECK(map.DialedBy(socket.get())->dialed == dialed);
  CHECK(map.DialedBy(socket.get())->picked.port == 0);
  memcpy(row.data() + kChosenPort, &chosen, 2);
  memcpy(row.data() + kChosen, picked.ip.bytes.data(), 16);
  REQUIRE(Call(BPF_MAP_UPDATE_ELEM, &row));
  CHECK(map.DialedBy(socket.get())->picked == picked);
  // Any other kind says nothing of a dialed address.
  memcpy(row.data() + kKind, &kOwn, 4);
  REQUIRE(Call(BPF_MAP_UPDATE_ELEM, &row));
  CHECK(!map.DialedBy(socket.get()));
}

TEST_CASE_FIXTURE(Fixture, "a socket is marked with its client, or without one") {
  if (!raw.valid()) return;
  const Address client = *ParseAddress("10.0.0.1:4000");
  REQUIRE(map.MarkOwn(socket.get(), &client));
  REQUIRE(Call(BPF_MAP_LOOKUP_ELEM, &row));
  uint32_t kind;
  uint16_t port;
  memcpy(&kind, row.data() + kKind, 4);
  memcpy(&port, row.data() + kPort, 2);
  CHECK(kind == kOwn);
  CHECK(ntohs(port) == 4000);
  CHECK(memcmp(row.data(), client.ip.bytes.data(), 16) == 0);
  REQUIRE(map.MarkOwn(socket.get(), nullptr));
  REQUIRE(Call(BPF_MAP_LOOKUP_ELEM, &row));
  memcpy(&port, row.data() + kPort, 2);
  CHECK(port == 0);
  CHECK(!map.MarkOwn(-1, nullptr));
}

}  // namespace
}  // namespace weft
