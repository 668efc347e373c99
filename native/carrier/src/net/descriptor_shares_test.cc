// SPDX-License-Identifier: Apache-2.0
#include "net/descriptor_shares.h"

#include <doctest/doctest.h>

#include <string>

namespace weft {
namespace {

std::string Text(const char* reached) { return reached ? reached : "taken"; }

TEST_CASE("what the process keeps for itself") {
  CHECK(DescriptorShares::MaxOf(64) == 16);
  CHECK(DescriptorShares::MaxOf(1024) == 512);
  CHECK(DescriptorShares::MaxOf(20'000) == 18'750);
  CHECK(DescriptorShares::MaxOf(1ull << 40) == UINT32_MAX / 2);
}

TEST_CASE("one pod alone gets two thirds, and others always get some, at least their floors") {
  DescriptorShares shares;
  shares.set_max(18'750);
  uint32_t first = 0, second = 0, third = 0;
  while (Text(shares.Take(1)) == "taken") first++;
  CHECK(Text(shares.Take(1)) == "connections-of-pod");
  while (Text(shares.Take(2)) == "taken") second++;
  while (Text(shares.Take(3)) == "taken") third++;
  // 11 000 idle connections of one pod, if nobody else needs descriptors.
  CHECK(first == 12'305);
  CHECK(second > 3'000);
  CHECK(third > 700);
  // Pods that work together leave others their floors.
  for (PodKey pod = 4; pod < 20; pod++)
    while (Text(shares.Take(pod)) == "taken") continue;
  for (int i = 0; i < 36; i++) CHECK(Text(shares.Take(20)) == "taken");
  CHECK(Text(shares.Take(20)) == "connections-of-pod");
  const uint64_t held = shares.held();
  shares.Release(2, second);
  CHECK(shares.held() == held - second);
  CHECK(Text(shares.Take(3)) == "taken");
}

TEST_CASE("none is left") {
  DescriptorShares shares;
  shares.set_max(3);
  for (PodKey pod = 1; pod <= 3; pod++) CHECK(Text(shares.Take(pod)) == "taken");
  CHECK(Text(shares.Take(4)) == "connections");
  shares.Release(1, 1);
  CHECK(Text(shares.Take(4)) == "taken");
}

}  // namespace
}  // namespace weft
