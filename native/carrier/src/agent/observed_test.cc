// SPDX-License-Identifier: Apache-2.0
#include "agent/test_decider.h"
#include "agent/wire.h"
#include "observe/http_watch.h"

namespace weft {

namespace {
// What packets to the agent say, in order: requests, and ends of rules.
std::vector<std::string> Said(Fixture* fixture) {
  fixture->loop.RunOnce(0);
  fixture->loop.RunOnce(0);
  std::vector<std::string> said;
  std::string buffer;
  std::vector<Fd> descriptors;
  while (ReceivePacket(fixture->agent.get(), &buffer, &descriptors) == Received::kPacket) {
    pb::FromCarrier packet;
    REQUIRE(packet.ParseFromString(buffer));
    for (const auto& requests : packet.observed())
      said.push_back(std::to_string(requests.rule()) + " " + requests.method() + " " + requests.path_template() + " " +
                     std::to_string(requests.durations_us_size()));
    for (const auto& message : packet.messages())
      if (message.has_rule_ended()) said.push_back("end of " + std::to_string(message.rule_ended().rule()));
    fixture->reports.Acknowledge(packet.batch());
  }
  return said;
}
constexpr HttpSeen kSeen{"GET", "/a", 200, 5};
}  // namespace

TEST_CASE("observed: requests of a flow go to the agent, before the end of their rule") {
  Fixture fixture;
  fixture.Connect();
  TestFlow flow(&fixture.decider, kPod);
  fixture.Open(&flow, 7);
  Said(&fixture);
  fixture.decider.Observed(&flow, kSeen);
  fixture.decider.Observed(&flow, kSeen);
  CHECK(Said(&fixture) == std::vector<std::string>{"7 GET /a 2"});
  CHECK(Said(&fixture).empty());
  fixture.decider.Observed(&flow, kSeen);
  fixture.decider.Revoke({7}, false, "");
  fixture.decider.Closed(&flow, Ended::kFinished, "");
  CHECK(Said(&fixture) == std::vector<std::string>{"7 GET /a 1", "end of 7"});
  // It is over, and nothing names its rule.
  fixture.decider.Observed(&flow, kSeen);
  CHECK(Said(&fixture).empty());
}

TEST_CASE("observed: while no agent is there requests wait for the next one") {
  Fixture fixture;
  fixture.Connect();
  TestFlow flow(&fixture.decider, kPod);
  fixture.Open(&flow, 7);
  Said(&fixture);
  fixture.Leave();
  fixture.decider.Observed(&flow, kSeen);
  fixture.Connect(false);
  CHECK(Said(&fixture).empty());
  fixture.Live();
  CHECK(Said(&fixture) == std::vector<std::string>{"7 GET /a 1"});
}

TEST_CASE("observed: beyond the room requests are lost, and the limit is reported") {
  Fixture fixture;
  fixture.Connect();
  TestFlow flow(&fixture.decider, kPod);
  fixture.Open(&flow, 7);
  Said(&fixture);
  fixture.Leave();
  for (uint64_t i = 0; i <= Observations::kRequestsMax; i++) fixture.decider.Observed(&flow, kSeen);
  fixture.Connect();
  std::string limits;
  for (const auto& message : fixture.Read())
    if (message.has_limit()) limits += message.limit().name();
  CHECK(limits == "observed-requests");
}

TEST_CASE("observed: a rule says whether its flows are") {
  for (const bool observe : {false, true}) {
    Rule rule = *Fixture::RuleFor(7, 80);
    rule.observe = observe;
    pb::Rule wire;
    ToWire(rule, &wire);
    std::string why;
    const RulePtr read = RuleFromWire(wire, &why);
    REQUIRE_MESSAGE(read, why);
    CHECK(read->observe == observe);
  }
}

}  // namespace weft
