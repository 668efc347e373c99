// SPDX-License-Identifier: Apache-2.0
// Questions, answers, rules and ends of flows.
#include "control/test_carrier.h"

using namespace weft;

TEST_CASE("questions, answers, a rule, its revocation, and the state that a new agent gets") {
  Carrier carrier(1);
  Descriptors of_pod;
  auto agent = std::make_unique<Agent>(carrier.path);
  agent->Start();
  agent->Send(of_pod.Pod(), of_pod.All());
  const auto asked = carrier.Open(agent.get(), NewRule(17, of_pod.cookie));
  CHECK(asked->is_permitted);

  const auto refused = carrier.Ask(of_pod.cookie, kPlain);
  REQUIRE(agent->Next()->has_question());
  // A target of a kind that this carrier does not know: field 9.
  const pb::Rule rule = NewRule(18, of_pod.cookie);
  pb::AgentMessage unknown;
  unknown.mutable_answer()->set_flow(refused->number);
  REQUIRE(unknown.mutable_answer()->mutable_rule()->ParseFromString(rule.SerializeAsString() + std::string("\x3a\x02\x4a\x00", 4)));
  agent->Send(unknown);
  std::multiset<int> kinds = {agent->Next()->kind_case(), agent->Next()->kind_case()};
  CHECK(kinds == std::multiset<int>{pb::CarrierMessage::kLog, pb::CarrierMessage::kRuleEnded});
  carrier.On(0, [](WorkerThread&) {});
  CHECK_FALSE(refused->is_permitted);

  agent = std::make_unique<Agent>(carrier.path);
  const pb::State state = agent->Start();
  CHECK(agent->carrier.last_rule() == 18);
  REQUIRE(state.rules_size() == 1);
  CHECK(state.rules(0).rule().context() == "context");
  CHECK(state.rules(0).is_matched());
  REQUIRE(state.flows_size() == 1);
  CHECK(state.flows(0).rule() == 17);
  CHECK(state.flows(0).bytes_received() == 2);

  pb::AgentMessage list;
  list.mutable_list_flows()->set_call(3);
  agent->Send(list);
  CHECK(agent->Next()->flows().flows_size() == 1);
  CHECK(agent->Next()->flows().is_last());

  pb::AgentMessage revoke;
  revoke.mutable_revoke()->set_call(4);
  revoke.mutable_revoke()->add_rules(17);
  revoke.mutable_revoke()->set_cut(true);
  revoke.mutable_revoke()->set_reason("policy");
  agent->Send(revoke);
  const auto closed = agent->Next();
  REQUIRE(closed->has_closed());
  CHECK(closed->closed().reason() == "policy");
  CHECK(closed->closed().ended() == pb::ENDED_CUT);
  CHECK(agent->Next()->rule_ended().rule() == 17);
  const auto done = agent->Next();
  CHECK(done->done().call() == 4);
  CHECK(done->done().cut() == 1);
}

TEST_CASE("State says which rules match later connections") {
  Carrier carrier(1);
  Descriptors of_pod;
  auto agent = std::make_unique<Agent>(carrier.path);
  agent->Start();
  agent->Send(of_pod.Pod(), of_pod.All());
  const auto first = carrier.Open(agent.get(), NewRule(17, of_pod.cookie));
  // The same match: it replaces the first, whose flow continues.
  const auto second = carrier.Open(agent.get(), NewRule(18, of_pod.cookie));
  pb::Rule once = NewRule(19, of_pod.cookie);
  once.clear_match();
  const auto third = carrier.Open(agent.get(), once);
  agent = std::make_unique<Agent>(carrier.path);
  std::map<RuleId, bool> matched;
  const pb::State state = agent->Start();
  for (const pb::RuleState& rule : state.rules()) matched[rule.rule().id()] = rule.is_matched();
  CHECK(matched == std::map<RuleId, bool>{{17, false}, {18, true}, {19, false}});
}

TEST_CASE("ends of flows without an agent come after the state, with their rule in it") {
  Carrier carrier(1);
  Descriptors of_pod;
  std::unique_ptr<TestFlow> flow;
  {
    Agent agent(carrier.path);
    agent.Start();
    agent.Send(of_pod.Pod(), of_pod.All());
    flow = carrier.Open(&agent, NewRule(17, of_pod.cookie));
  }
  carrier.AwaitNoAgent();
  carrier.On(0, [&](WorkerThread& w) {
    w.decider().Closed(flow.get(), Ended::kFinished, "");
    w.decider().Revoke({17}, false, "");
  });
  Agent agent(carrier.path);
  const pb::State state = agent.Start();
  REQUIRE(state.rules_size() == 1);
  CHECK(state.rules(0).rule().id() == 17);
  CHECK_FALSE(state.rules(0).is_matched());
  REQUIRE(state.flows_size() == 1);
  CHECK(state.flows(0).id() == flow->number);
  CHECK_FALSE(state.flows(0).is_opening());
  CHECK(EndOf(agent.Next()) == flow->number);
  CHECK(agent.Next()->rule_ended().rule() == 17);
}

TEST_CASE("an end that an agent has read and not acknowledged goes to the next agent, until one acknowledges it") {
  Carrier carrier(2);
  Descriptors of_pod;
  std::unique_ptr<TestFlow> flow;
  {
    Agent agent(carrier.path);
    agent.Start();
    agent.Send(of_pod.Pod(), of_pod.All());
    flow = carrier.Open(&agent, NewRule(17, of_pod.cookie));
    carrier.On(0, [&](WorkerThread& w) { w.decider().Closed(flow.get(), Ended::kFinished, ""); });
    const auto closed = agent.Next();
    CHECK(EndOf(closed) == flow->number);
    CHECK(agent.batch > 0);
  }
  carrier.AwaitNoAgent();
  for (const bool acknowledges : {false, true}) {
    Agent agent(carrier.path);
    const pb::State state = agent.Start();
    REQUIRE(state.flows_size() == 1);
    CHECK(state.flows(0).id() == flow->number);
    CHECK(EndOf(agent.Next()) == flow->number);
    if (!acknowledges) continue;
    agent.Acknowledge();
    CHECK(Eventually([&] {
      size_t left = 1;
      carrier.On(0, [&](WorkerThread& w) { left = w.reports().unacknowledged(); });
      return left == 0;
    }));
  }
  Agent agent(carrier.path);
  CHECK(agent.Start().flows_size() == 0);
  // Of a worker that does not exist.
  agent.worker = 2;
  agent.Acknowledge();
  CHECK(agent.IsClosed());
}

TEST_CASE("10 000 flows of one revoked rule end within 200 ms, and State holds them before") {
  Carrier carrier(1);
  Descriptors of_pod;
  std::vector<std::unique_ptr<TestFlow>> flows;
  Agent first(carrier.path);
  first.Start();
  first.Send(of_pod.Pod(), of_pod.All());
  flows.push_back(carrier.Open(&first, NewRule(17, of_pod.cookie)));
  first.Renew(60'000);
  CHECK(Eventually([&] { return carrier.lease.IsValid(); }));
  carrier.On(0, [&](WorkerThread& w) {
    for (int i = 1; i < 10'000; i++) {
      flows.push_back(std::make_unique<TestFlow>(&w.decider(), of_pod.cookie));
      w.decider().Ask(flows.back().get(), kPlain);
    }
  });
  Agent agent(carrier.path);
  CHECK(agent.Start().flows_size() == 10'000);
  pb::AgentMessage revoke;
  revoke.mutable_revoke()->set_call(4);
  revoke.mutable_revoke()->add_rules(17);
  revoke.mutable_revoke()->set_cut(true);
  const uint64_t began = BootMs();
  agent.Send(revoke);
  int closed = 0;
  for (;;) {
    const auto message = agent.Next();
    REQUIRE(message);
    closed += message->has_closed() + static_cast<int>(message->records().records().size() / Reports::kRecordBytes);
    if (message->has_done()) {
      CHECK(message->done().cut() == 10'000);
      break;
    }
  }
  CHECK(closed == 10'000);
  const uint64_t took = BootMs() - began;
  MESSAGE("10 000 flows cut and reported in " << took << " ms");
  CHECK(took < 200 * WEFT_SLOWDOWN);
}
