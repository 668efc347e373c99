// SPDX-License-Identifier: Apache-2.0
// Ends of flows: kept until an agent acknowledges them.
#include "agent/test_decider.h"

using namespace weft;

TEST_CASE("ends are kept for the next agent, with their rules and in order") {
  Fixture f;
  f.Connect();
  TestFlow flow(&f.decider, kPod), other(&f.decider, kPod);
  f.decider.Ask(&flow, Fixture::Plain(80));
  f.decider.AnswerNewRule(flow.number, Fixture::RuleFor(5, 80));
  f.decider.Opened(&flow);
  f.Read();
  f.Leave();
  f.decider.Revoke({5}, true, "policy");
  CHECK(flow.cuts == 1);
  f.Connect(false);
  std::vector<RuleId> kept;
  f.reports.ForEachKeptRule([&](const RulePtr& rule) { kept.push_back(rule->id); });
  CHECK(kept == std::vector<RuleId>{5});
  CHECK_FALSE(f.decider.rules().Has(5));
  CHECK(f.Kinds() == "");
  f.Live();
  CHECK(f.Kinds() == "closed rule-ended");
}

TEST_CASE("an agent that does not read delays questions and loses no end") {
  Fixture f;
  f.reports.set_events_max(3000);
  f.lease.Renew(60'000);
  f.decider.Install(Fixture::RuleFor(5, 80));
  f.Connect();
  int permitted = 0, refused = 0;
  for (int i = 0; i < 20'000; i++) {
    TestFlow flow(&f.decider, kPod);
    f.decider.Ask(&flow, Fixture::Plain(80));
    if (!flow.decisions.at(0).rule) {
      refused++;
      continue;
    }
    permitted++;
    f.decider.Opened(&flow);
    f.decider.Closed(&flow, Ended::kFinished, "");
    if (i % 16 == 0) f.loop.RunOnce(0);
  }
  CHECK(refused > 0);
  CHECK(f.reports.waiting() <= 3000);
  int ends = 0;
  for (int i = 0; i < 100; i++) {
    for (const auto& message : f.Read()) ends += message.has_closed();
    if (f.link.TakeWasFull()) f.reports.OnWritable();
  }
  CHECK(ends == permitted);
}

TEST_CASE("ends that an agent has read and not acknowledged go to the next one, before later ones") {
  Fixture f;
  f.acknowledges = false;
  f.Connect();
  TestFlow first(&f.decider, kPod), second(&f.decider, kPod), third(&f.decider, kPod);
  f.Open(&first, 5);
  f.Open(&second, 6);
  f.Open(&third, 7);
  f.decider.Closed(&first, Ended::kFinished, "");
  CHECK(f.Kinds() == "question opened question opened question opened closed rule-ended");
  f.decider.Closed(&second, Ended::kPodReset, "");
  CHECK(f.Kinds() == "closed rule-ended");
  REQUIRE(f.batches.size() == 2);
  CHECK(f.batches[0] < f.batches[1]);
  CHECK(f.reports.unacknowledged() > 0);
  // The agent is killed.
  f.Leave();
  f.decider.Closed(&third, Ended::kFinished, "");
  f.Connect(false);
  std::vector<FlowId> kept;
  f.reports.ForEachKeptFlow([&](const FlowReport& flow, bool was_open, uint64_t) {
    CHECK(was_open);
    kept.push_back(flow.id);
  });
  CHECK(kept == std::vector<FlowId>{first.number, second.number, third.number});
  std::vector<RuleId> rules;
  f.reports.ForEachKeptRule([&](const RulePtr& rule) { rules.push_back(rule->id); });
  CHECK(rules == std::vector<RuleId>{5, 6, 7});
  f.Live();
  const auto again = f.Read();
  std::vector<FlowId> closed;
  for (const auto& message : again)
    if (message.has_closed()) closed.push_back(message.closed().flow());
  CHECK(closed == kept);
  // The third acknowledges all: the fourth gets nothing.
  f.reports.Acknowledge(f.batches.back());
  CHECK(f.reports.unacknowledged() == 0);
  f.Connect();
  CHECK(f.Kinds() == "");
}

TEST_CASE("an acknowledgment is of all batches up to its own, and of none that was not sent") {
  Fixture f;
  f.acknowledges = false;
  f.Connect();
  TestFlow flows[] = {{&f.decider, kPod}, {&f.decider, kPod}, {&f.decider, kPod}};
  for (TestFlow& flow : flows) f.Open(&flow, 5 + flow.number);
  f.Read();
  f.batches.clear();
  f.reports.Acknowledge(~0ull);
  CHECK(f.reports.unacknowledged() == 0);
  for (TestFlow& flow : flows) {
    f.decider.Closed(&flow, Ended::kFinished, "");
    f.Read();
  }
  REQUIRE(f.batches.size() == 3);
  f.reports.Acknowledge(f.batches[1]);
  f.reports.Acknowledge(f.batches[0]);
  f.reports.Acknowledge(0);
  f.Connect();
  std::vector<FlowId> closed;
  for (const auto& message : f.Read())
    if (message.has_closed()) closed.push_back(message.closed().flow());
  CHECK(closed == std::vector<FlowId>{flows[2].number});
}

TEST_CASE("a packet without ends is of no batch") {
  Fixture f;
  f.Connect();
  TestFlow flow(&f.decider, kPod);
  f.Open(&flow, 5);
  CHECK(f.Kinds() == "question opened");
  CHECK(f.batches.empty());
  f.decider.Closed(&flow, Ended::kFinished, "");
  CHECK(f.Kinds() == "closed");
  CHECK(f.batches.size() == 1);
}

TEST_CASE("an agent that reads and never acknowledges: new connections are refused at the limit, and no end is lost") {
  Fixture f;
  f.acknowledges = false;
  f.reports.set_events_max(3000);
  f.lease.Renew(60'000);
  f.decider.Install(Fixture::RuleFor(5, 80));
  f.Connect();
  int permitted = 0, refused = 0, ends = 0;
  uint32_t counted = 0;
  const auto read = [&] {
    for (const auto& message : f.Read()) {
      ends += message.has_closed();
      if (message.limit().name() == "carrier-events") counted += message.limit().times();
    }
  };
  for (int i = 0; i < 10'000; i++) {
    TestFlow flow(&f.decider, kPod);
    f.decider.Ask(&flow, Fixture::Plain(80));
    if (!flow.decisions.at(0).rule) {
      refused++;
      continue;
    }
    permitted++;
    f.decider.Opened(&flow);
    f.decider.Closed(&flow, Ended::kFinished, "");
    if (i % 16 == 0) read();
  }
  for (int i = 0; i < 50 && counted < static_cast<uint32_t>(refused); i++) {
    f.loop.RunOnce(20);
    read();
  }
  CHECK(refused > 0);
  CHECK(counted == static_cast<uint32_t>(refused));
  CHECK(ends == permitted);
  CHECK(f.reports.waiting() + f.reports.unacknowledged() <= 3000);
  // It acknowledges after all.
  f.reports.Acknowledge(f.batches.back());
  TestFlow flow(&f.decider, kPod);
  f.decider.Ask(&flow, Fixture::Plain(80));
  CHECK(flow.decisions.at(0).rule);
  f.decider.Closed(&flow, Ended::kFinished, "");
}

TEST_CASE("durations are of a clock that nobody sets") {
  Fixture f;
  f.Connect();
  TestFlow flow(&f.decider, kPod);
  flow.started = BootMs() - 5000;
  f.Open(&flow, 5);
  for (const auto& message : f.Read())
    if (message.has_opened()) CHECK(message.opened().age_ms() >= 5000);
  f.decider.ForEachFlow([](const RuleDecider::FlowView& view) {
    CHECK(view.age_ms >= 5000);
    CHECK(view.age_ms < 60'000);
  });
  f.decider.Closed(&flow, Ended::kFinished, "");
  const auto closed = f.Read();
  REQUIRE(closed.size() == 1);
  CHECK(closed[0].closed().duration_ms() >= 5000);
  CHECK(closed[0].closed().duration_ms() < 60'000);
}
