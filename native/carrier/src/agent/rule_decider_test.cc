// SPDX-License-Identifier: Apache-2.0
#include "agent/test_decider.h"

using namespace weft;

TEST_CASE("a miss asks, the answer's rule decides later connections while the lease is valid") {
  Fixture f;
  f.Connect();
  f.lease.Renew(60'000);
  TestFlow first(&f.decider, kPod), second(&f.decider, kPod), third(&f.decider, kPod);
  CHECK(RuleDecider::WorkerOf(first.number) == 3);
  f.decider.Ask(&first, Fixture::Plain(80));
  CHECK(first.decisions.empty());
  const auto asked = f.Read();
  REQUIRE(asked.size() == 1);
  CHECK(asked[0].question().flow() == first.number);
  CHECK(asked[0].question().pod() == kPod);
  CHECK(asked[0].question().plain().local().port() == 80);
  f.decider.AnswerNewRule(first.number, Fixture::RuleFor(5, 80));
  REQUIRE(first.decisions.size() == 1);
  CHECK(first.decisions[0].rule->id == 5);
  f.decider.Opened(&first);
  f.decider.Ask(&second, Fixture::Plain(80));
  REQUIRE(second.decisions.size() == 1);
  CHECK(second.decisions[0].rule->id == 5);
  f.decider.Opened(&second);
  f.decider.Closed(&second, Ended::kFinished, "");
  // An end in the same batch says that the flow was open.
  CHECK(f.Kinds() == "records:opened:closed");
  f.lease.Renew(0);
  f.decider.Ask(&third, Fixture::Plain(80));
  CHECK(third.decisions.empty());
  CHECK(f.Kinds() == "question");
  f.decider.AnswerRule(third.number, 5);
  CHECK(third.decisions.size() == 1);
  f.decider.Closed(&first, Ended::kPodReset, "a reason");
  const auto closed = f.Read();
  REQUIRE(closed.size() == 1);
  CHECK(closed[0].closed().ended() == pb::ENDED_POD_RESET);
  CHECK(closed[0].closed().reason() == "a reason");
  CHECK(closed[0].closed().bytes_sent() == 5);
  f.decider.Closed(&third, Ended::kFinished, "");
}

TEST_CASE("without an agent rules decide while the lease lasts, and the rest is refused and counted") {
  Fixture f;
  f.decider.Install(Fixture::RuleFor(5, 80));
  TestFlow hit(&f.decider, kPod), miss(&f.decider, kPod), late(&f.decider, kPod);
  f.lease.Renew(60'000);
  f.decider.Ask(&hit, Fixture::Plain(80));
  CHECK(hit.decisions.at(0).rule);
  f.decider.Ask(&miss, Fixture::Plain(81));
  CHECK_FALSE(miss.decisions.at(0).rule);
  CHECK(miss.decisions.at(0).status == 503);
  f.lease.Renew(0);
  f.decider.Ask(&late, Fixture::Plain(80));
  CHECK(late.decisions.at(0).status == 503);
  CHECK(f.decider.flows() == 1);
  f.decider.Opened(&hit);
  f.decider.Closed(&hit, Ended::kFinished, "");
  f.Connect();
  const auto messages = f.Read();
  REQUIRE(messages.size() == 2);
  const auto ends = RecordsOf(messages[0]);
  REQUIRE(ends.size() == 1);
  CHECK(ends[0].flow == hit.number);
  CHECK(ends[0].rule == 5);
  CHECK_FALSE(ends[0].is_opening);
  CHECK(messages[1].limit().name() == "carrier-no-agent");
  CHECK(messages[1].limit().times() == 2);
}

TEST_CASE("questions of an agent that left are refused; one that is replaced is asked again by the next") {
  Fixture f;
  f.Connect();
  TestFlow first(&f.decider, kPod), second(&f.decider, kPod);
  f.decider.Ask(&first, Fixture::Plain(80));
  CHECK(f.Kinds() == "question");
  f.Connect(false);
  f.decider.Ask(&second, Fixture::Plain(81));
  CHECK(f.Kinds() == "");
  f.Live();
  CHECK(f.Kinds() == "question question");
  f.Leave();
  CHECK(first.decisions.at(0).status == 503);
  CHECK(second.decisions.at(0).status == 503);
  CHECK(f.decider.flows() == 0);
}

TEST_CASE("a failed target is a question, whose answer is another rule or a refusal") {
  Fixture f;
  f.Connect();
  TestFlow flow(&f.decider, kPod);
  f.decider.Ask(&flow, Fixture::Plain(80));
  f.decider.AnswerNewRule(flow.number, Fixture::RuleFor(5, 80));
  f.Read();
  f.decider.Failed(&flow, {Stage::kDial, ECONNREFUSED, 0, "refused"});
  auto messages = f.Read();
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].question().failure().rule() == 5);
  CHECK(messages[0].question().failure().stage() == pb::STAGE_DIAL);
  CHECK(messages[0].question().failure().error() == ECONNREFUSED);
  f.decider.AnswerNewRule(flow.number, Fixture::RuleFor(6, 80));
  CHECK(flow.decisions.at(1).rule->id == 6);
  // 6 matches what 5 matched.
  CHECK(f.Kinds() == "rule-ended");
  f.decider.Failed(&flow, {Stage::kDial, ETIMEDOUT, 0, ""});
  f.decider.AnswerRefuse(flow.number, 503);
  CHECK(flow.decisions.at(2).status == 503);
  // The agent refused it, so it knows of the end.
  CHECK(f.Kinds() == "question");
  CHECK(f.decider.flows() == 0);
}

TEST_CASE("a rule that ended before the answer came is asked for again, not for ever") {
  Fixture f;
  f.Connect();
  TestFlow flow(&f.decider, kPod);
  f.decider.Ask(&flow, Fixture::Plain(80));
  f.Read();
  for (int i = 0; i < 3; i++) {
    f.decider.AnswerRule(flow.number, 99);
    CHECK(flow.decisions.empty());
    CHECK(f.Kinds() == "question");
  }
  f.decider.AnswerRule(flow.number, 99);
  CHECK(flow.decisions.at(0).status == 503);
}

TEST_CASE("a rule of another pod, or under an id in use, refuses the flow") {
  Fixture f;
  f.Connect();
  TestFlow flow(&f.decider, kPod + 1), second(&f.decider, kPod);
  f.decider.Ask(&flow, Fixture::Plain(80));
  f.decider.AnswerNewRule(flow.number, Fixture::RuleFor(5, 80));
  CHECK(flow.decisions.at(0).status == 503);
  f.decider.Install(Fixture::RuleFor(6, 81));
  f.decider.Ask(&second, Fixture::Plain(80));
  f.decider.AnswerNewRule(second.number, Fixture::RuleFor(6, 80));
  CHECK(second.decisions.at(0).status == 503);
}

TEST_CASE("revoked rules match nothing; their flows end if the agent says so") {
  Fixture f;
  f.lease.Renew(60'000);
  f.decider.Install(Fixture::RuleFor(5, 80));
  f.Connect();
  TestFlow first(&f.decider, kPod), second(&f.decider, kPod);
  f.decider.Ask(&first, Fixture::Plain(80));
  CHECK(f.decider.Revoke({5}, false, "") == 0);
  f.decider.Ask(&second, Fixture::Plain(80));
  CHECK(second.decisions.empty());
  CHECK(f.decider.Revoke({5, 77}, true, "policy") == 1);
  CHECK(first.cuts == 1);
  CHECK(f.Kinds() == "question closed rule-ended");
  f.decider.CutAll("cut");
  CHECK(second.cuts == 1);
  CHECK(f.Kinds() == "canceled");
}

TEST_CASE("targets are taken at random") {
  Fixture f;
  f.lease.Renew(60'000);
  f.decider.Install(Fixture::RuleFor(5, 80, 3));
  int taken[3] = {};
  for (int i = 0; i < 300; i++) {
    TestFlow flow(&f.decider, kPod);
    f.decider.Ask(&flow, Fixture::Plain(80));
    taken[flow.decisions.at(0).target]++;
    f.decider.Closed(&flow, Ended::kFinished, "");
  }
  for (const int count : taken) CHECK(count > 50);
}

TEST_CASE("a tunnel that states another client is always asked for") {
  Fixture f;
  f.lease.Renew(60'000);
  f.Connect();
  auto rule = std::make_shared<Rule>(*Fixture::RuleFor(5, 80));
  rule->match = TunnelMatch{"spiffe://d/ns/n/sa/s", At(1).ip, At(80)};
  f.decider.Install(rule);
  TunnelQuestion question{"spiffe://d/ns/n/sa/s", At(50'000), At(15'008), At(80), "", "", "", ""};
  const auto hits = [&](const TunnelQuestion& asked) {
    TestFlow flow(&f.decider, kPod);
    f.decider.Ask(&flow, asked);
    const bool is_hit = !flow.decisions.empty();
    f.decider.Canceled(&flow);
    return is_hit;
  };
  CHECK(hits(question));
  question.forwarded = "for=\"10.0.0.1:1234\"";
  CHECK(hits(question));
  question.forwarded = "for=\"10.0.0.9:1234\"";
  CHECK_FALSE(hits(question));
  question.forwarded = "for=\"10.0.0.1:1234\";for=\"10.0.0.9:1\"";
  CHECK_FALSE(hits(question));
  question.forwarded = "nonsense";
  CHECK_FALSE(hits(question));
  question.forwarded = "";
  question.source_identity = "spiffe://d/ns/n/sa/other";
  CHECK_FALSE(hits(question));
  question.source_identity = "";
  question.peer = "spiffe://d/ns/n/sa/t";
  CHECK_FALSE(hits(question));
}

TEST_CASE("questions of pods: shares of what is left, and a floor") {
  RuleDecider::Limits limits;
  limits.questions_max = 16;
  Fixture f(limits);
  f.Connect();
  std::vector<std::unique_ptr<TestFlow>> flows;
  const auto ask = [&](PodKey pod) {
    flows.push_back(std::make_unique<TestFlow>(&f.decider, pod));
    f.decider.Ask(flows.back().get(), Fixture::Plain(80));
    return flows.back()->decisions.empty();
  };
  int asked = 0;
  for (int i = 0; i < 20; i++) asked += ask(kPod);
  // Two are for floors.
  CHECK(asked == 7);
  for (int i = 0; i < 3; i++) CHECK(ask(kPod + 1));
  CHECK_FALSE(ask(kPod + 1));
  for (PodKey other = kPod + 2; other < kPod + 8; other++) CHECK(ask(other));
  CHECK_FALSE(ask(kPod + 8));
  CHECK(f.decider.questions() == 16);
}
