// SPDX-License-Identifier: Apache-2.0
#include "net/pod_shares.h"

#include <doctest/doctest.h>

namespace weft {
namespace {

constexpr uint64_t kMax = 64 << 20;
constexpr uint64_t kFloor = kMax / kFloorPart;

// Takes one by one, or piece by piece, until no more is given. What the pod has got.
uint64_t TakeAll(PodShares* shares, PodKey pod, uint64_t piece) {
  uint64_t got = 0;
  while (shares->Take(pod, piece)) got += piece;
  return got;
}

TEST_CASE("one pod alone gets half of what is not reserved, or more by weight") {
  PodShares even(kMax), heavy(kMax, 3);
  CHECK(TakeAll(&even, 1, 1024) == kMax * 7 / 16);
  CHECK(TakeAll(&heavy, 1, 1024) == kMax * 21 / 32);
  // Not more in one piece either.
  PodShares fresh(kMax);
  CHECK(fresh.Room(1) == kMax * 7 / 16);
  CHECK_FALSE(fresh.Take(1, kMax * 7 / 16 + 1));
  CHECK(fresh.held() == 0);
}

TEST_CASE("pods that work together leave others their floors") {
  for (const uint64_t weight : {1, 3}) {
    PodShares shares(kMax, weight);
    PodKey pod = 0;
    // Until another pod gets nothing beyond its floor.
    while (TakeAll(&shares, ++pod, 1024) > kFloor) CHECK(pod < 100);
    CHECK(shares.held() < kMax * 15 / 16);
    // Many more that use their floors.
    for (const PodKey last = pod + 30; pod < last; pod++) CHECK(TakeAll(&shares, pod, 1024) <= kFloor);
    const PodKey honest = 1'000'000;
    CHECK(shares.Take(honest, kFloor));
    CHECK_FALSE(shares.Take(honest, 1));
    // It keeps it: what is released goes to whoever asks first, but never beyond what is reserved.
    shares.Release(honest, kFloor);
    for (PodKey other = 1; other < 20; other++) TakeAll(&shares, other, 1024);
    CHECK(shares.Take(honest, kFloor));
  }
}

TEST_CASE("a pod below its floor is refused once the whole budget is used up, and not before") {
  PodShares shares(kMax);
  PodKey pod = 0;
  while (shares.Take(++pod, kFloor)) CHECK(pod <= kFloorPart);
  CHECK(pod == kFloorPart + 1);
  CHECK(shares.is_used_up());
  CHECK(shares.Room(1) == 0);
  CHECK(shares.Room(pod) == 0);
  shares.Release(1, 10);
  CHECK(shares.Room(pod) == 10);
  CHECK(shares.Room(1) == 10);
  CHECK(shares.Room(2) == 0);
}

TEST_CASE("a small budget") {
  PodShares shares(3);
  for (PodKey pod = 1; pod <= 3; pod++) CHECK(shares.Take(pod, 1));
  CHECK_FALSE(shares.Take(4, 1));
  PodShares none(0);
  CHECK(none.is_used_up());
  CHECK_FALSE(none.Take(1, 1));
  CHECK(none.Take(1, 0));
}

TEST_CASE("what is released can be taken again, and no more is released than a pod holds") {
  PodShares shares(kMax);
  CHECK(shares.Take(1, 4096));
  CHECK(shares.Take(2, 4096));
  shares.Release(1, 5000);
  CHECK(shares.held() == 4096);
  shares.Release(1, 1);
  shares.Release(3, 1);
  CHECK(shares.held() == 4096);
  CHECK(shares.Room(1) == (kMax * 7 / 8 - 4096) / 2);
}

}  // namespace
}  // namespace weft
