// SPDX-License-Identifier: Apache-2.0
#include "observe/observations.h"

#include <doctest/doctest.h>

namespace weft {

namespace {
Rule RuleOf(RuleId id, PodKey pod) {
  Rule rule;
  rule.id = id;
  rule.pod = pod;
  return rule;
}
constexpr size_t kPacket = 64 << 10;
}  // namespace

TEST_CASE("observations: requests of one kind are one message, others have their own") {
  Observations observations;
  const Rule rule = RuleOf(3, 1);
  CHECK(observations.is_empty());
  CHECK(observations.Add(rule, 0, {"GET", "/a", 200, 5}));
  CHECK(observations.Add(rule, 0, {"GET", "/a", 200, 1ull << 40}));
  CHECK(observations.Add(rule, 0, {"GET", "/a", 500, 6}));
  CHECK(observations.Add(rule, 1, {"GET", "/a", 200, 7}));
  carrier::v1::FromCarrier packet;
  observations.Encode(&packet, kPacket);
  REQUIRE(packet.observed_size() == 3);
  CHECK(packet.observed(0).rule() == 3);
  CHECK(packet.observed(0).method() == "GET");
  CHECK(packet.observed(0).path_template() == "/a");
  CHECK(packet.observed(0).status() == 200);
  REQUIRE(packet.observed(0).durations_us_size() == 2);
  CHECK(packet.observed(0).durations_us(0) == 5);
  CHECK(packet.observed(0).durations_us(1) == UINT32_MAX);
  CHECK(packet.observed(2).target() == 1);
  // A packet that could not be sent is encoded again.
  packet.Clear();
  observations.Encode(&packet, kPacket);
  CHECK(packet.observed_size() == 3);
  CHECK(observations.is_encoded());
  // What came meanwhile follows.
  CHECK(observations.Add(rule, 0, {"GET", "/a", 200, 8}));
  CHECK(!observations.is_encoded());
  observations.Sent();
  CHECK(!observations.is_empty());
  packet.Clear();
  observations.Encode(&packet, kPacket);
  CHECK(packet.observed_size() == 1);
  observations.Sent();
  CHECK(observations.is_empty());
}

TEST_CASE("observations: packets are bounded, and nothing is sent twice") {
  Observations observations;
  const Rule rule = RuleOf(3, 1);
  size_t added = 0, sent = 0;
  for (int i = 0; i < 20'000; i++) added += observations.Add(rule, 0, {"GET", "/a/" + std::string(1, static_cast<char>('a' + i % 20)), 200, UINT32_MAX});
  CHECK(added == 20'000);
  while (!observations.is_empty()) {
    carrier::v1::FromCarrier packet;
    observations.Encode(&packet, kPacket);
    CHECK(packet.ByteSizeLong() < (128 << 10));
    for (const auto& requests : packet.observed()) sent += static_cast<size_t>(requests.durations_us_size());
    observations.Sent();
  }
  CHECK(sent == added);
}

TEST_CASE("observations: a pod that asks for everything leaves room for others, and what finds none is lost") {
  Observations observations(64, 1024);
  const Rule flood = RuleOf(3, 1), other = RuleOf(4, 2);
  size_t groups = 0;
  for (int i = 0; i < 1000; i++) groups += observations.Add(flood, 0, {"GET", "/" + std::to_string(i), 200, 1});
  CHECK(groups >= 16);
  CHECK(groups < 64);
  CHECK(observations.Add(other, 0, {"GET", "/a", 200, 1}));
  size_t requests = groups;
  for (int i = 0; i < 5000; i++) requests += observations.Add(flood, 0, {"GET", "/0", 200, 1});
  CHECK(requests < 1024);
  CHECK(observations.Add(other, 0, {"GET", "/a", 200, 1}));
  carrier::v1::FromCarrier packet;
  observations.Encode(&packet, kPacket);
  observations.Sent();
  CHECK(observations.is_empty());
  CHECK(observations.Add(flood, 0, {"GET", "/b", 200, 1}));
}

}  // namespace weft
