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

constexpr size_t kPort = kTestLayout.port, kChosenPort = kTestLayout.chosen_port, kKind = kTestLayout.kind, kChosen = kTestLayout.chosen;
constexpr uint32_t kOwn = kTestLayout.own, kDialed = kTestLayout.dialed;

struct Fixture {
  Fixture() : raw(MakeSockMap()) {
    if (raw.valid()) REQUIRE(map.Use(Fd(dup(raw.get())), kTestLayout));
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
  std::vector<uint8_t> row = std::vector<uint8_t>(kTestLayout.row_bytes);
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

TEST_CASE("the layout is the agent's") {
  constexpr SockLayout wide{72, 8, 16, 32, 40, 34, 9, 3};
  const Fd raw = MakeSockMap(wide.row_bytes);
  if (!raw.valid()) return;
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  SockMap map;
  REQUIRE(map.Use(Fd(dup(raw.get())), wide));
  const Address client = *ParseAddress("10.0.0.1:4000");
  REQUIRE(map.MarkOwn(socket.get(), &client));
  // Where its own rows say "own", these say "dialed".
  SockLayout other = wide;
  std::swap(other.dialed, other.own);
  REQUIRE(map.Use(Fd(dup(raw.get())), other));
  REQUIRE(map.DialedBy(socket.get()));
  CHECK(map.DialedBy(socket.get())->dialed == client);
}

TEST_CASE_FIXTURE(Fixture, "after a change of maps, the programs of the former build still find and leave their rows") {
  if (!raw.valid()) return;
  constexpr SockLayout wide{72, 8, 16, 32, 40, 34, 9, 3};
  const Address client = *ParseAddress("10.0.0.1:4000");
  memcpy(row.data(), client.ip.bytes.data(), 16);
  memcpy(row.data() + kKind, &kDialed, 4);
  REQUIRE(Call(BPF_MAP_UPDATE_ELEM, &row));
  REQUIRE(map.Use(MakeSockMap(wide.row_bytes), wide));
  REQUIRE(map.DialedBy(socket.get()));
  CHECK(map.DialedBy(socket.get())->dialed.ip == client.ip);
  REQUIRE(map.MarkOwn(socket.get(), &client));
  REQUIRE(Call(BPF_MAP_LOOKUP_ELEM, &row));
  uint32_t kind;
  memcpy(&kind, row.data() + kKind, 4);
  CHECK(kind == kOwn);
  // A map of the build after that takes the place of both.
  REQUIRE(map.Use(MakeSockMap(wide.row_bytes), wide));
  memcpy(row.data() + kKind, &kDialed, 4);
  REQUIRE(Call(BPF_MAP_UPDATE_ELEM, &row));
  CHECK(!map.DialedBy(socket.get()));
}

TEST_CASE_FIXTURE(Fixture, "a map with rows of another size, a descriptor of another kind and a field outside of the row are not used") {
  if (!raw.valid()) return;
  const Fd wide = MakeSockMap(kTestLayout.row_bytes + 8);
  CHECK(!map.Use(Fd(dup(wide.get())), kTestLayout));
  CHECK(!map.Use(Fd(dup(socket.get())), kTestLayout));
  const auto is_used = [&](void (*change)(SockLayout*)) {
    SockLayout layout = kTestLayout;
    change(&layout);
    return map.Use(Fd(dup(raw.get())), layout);
  };
  CHECK(!is_used([](SockLayout* layout) { layout->ip = 41; }));
  CHECK(!is_used([](SockLayout* layout) { layout->chosen = 41; }));
  CHECK(!is_used([](SockLayout* layout) { layout->kind = 53; }));
  CHECK(!is_used([](SockLayout* layout) { layout->port = 55; }));
  CHECK(!is_used([](SockLayout* layout) { layout->chosen_port = 0xffffffff; }));
  CHECK(!is_used([](SockLayout* layout) { layout->row_bytes = SockLayout::kRowBytesMax + 1; }));
  CHECK(!is_used([](SockLayout* layout) { layout->own = layout->dialed; }));
  CHECK(is_used([](SockLayout* layout) { layout->ip = 40; }));
}

}  // namespace
}  // namespace weft
