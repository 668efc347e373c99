// SPDX-License-Identifier: Apache-2.0
// A carrier that is replaced, or terminated.
#include "control/test_carrier.h"

using namespace weft;

TEST_CASE("draining ends when the last flow has ended") {
  Carrier carrier;
  Descriptors of_pod;
  Agent agent(carrier.path);
  agent.Start();
  pb::AgentMessage drain;
  drain.mutable_drain()->set_grace_ms(3'600'000);
  agent.Send(drain);
  CHECK(agent.Next()->has_log());
  // No more pods.
  agent.Send(of_pod.Pod(), of_pod.All());
  CHECK(agent.Next()->log().level() == "warn");
  CHECK(Eventually([&] { return carrier.has_ended.load(); }));
  std::lock_guard lock(carrier.seen.mutex);
  CHECK(carrier.seen.drains == 2);
}

TEST_CASE("a carrier without flows ends only once a connection that was on its way to it can be a flow") {
  Carrier carrier;
  Agent agent(carrier.path);
  agent.Start();
  pb::AgentMessage drain;
  drain.mutable_drain()->set_grace_ms(3'600'000);
  agent.Send(drain);
  CHECK(Eventually([&] {
    std::lock_guard lock(carrier.seen.mutex);
    return carrier.seen.drains == 2;
  }));
  std::this_thread::sleep_for(std::chrono::milliseconds(1'500));
  CHECK_FALSE(carrier.has_ended);
  CHECK(Eventually([&] { return carrier.has_ended.load(); }));
}

static int DrainsOf(Carrier& carrier) {
  std::lock_guard lock(carrier.seen.mutex);
  return carrier.seen.drains;
}

TEST_CASE("a carrier that somebody ends serves until its agent has a newer one") {
  Carrier carrier;
  Agent agent(carrier.path);
  agent.Start();
  carrier.loop.Post([&] { carrier.control->Retire(60'000); });
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  CHECK(DrainsOf(carrier) == 0);
  CHECK_FALSE(carrier.has_ended);
  pb::AgentMessage drain;
  drain.mutable_drain()->set_grace_ms(3'600'000);
  agent.Send(drain);
  CHECK(Eventually([&] { return DrainsOf(carrier) == 2 && carrier.has_ended; }));
}

TEST_CASE("a carrier that somebody ends drains without an agent once its lease is over") {
  Carrier carrier;
  carrier.lease.Renew(600);
  carrier.loop.Post([&] { carrier.control->Retire(60'000); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(DrainsOf(carrier) == 0);
  CHECK(Eventually([&] { return DrainsOf(carrier) == 2 && carrier.has_ended; }));
}

TEST_CASE("a carrier that somebody ends drains at once without a grace period") {
  Carrier carrier;
  Agent agent(carrier.path);
  agent.Start();
  carrier.loop.Post([&] { carrier.control->Retire(0); });
  CHECK(Eventually([&] { return DrainsOf(carrier) == 2 && carrier.has_ended; }));
}
