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
    for (const auto& message : f.Read()) ends += static_cast<int>(EndsOf({message}).size());
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
  // The first has no opening: it ended before that was sent.
  CHECK(f.Kinds() == "question question records:opened question records:opened:closed rule-ended");
  f.decider.Closed(&second, Ended::kPodReset, "");
  CHECK(f.Kinds() == "records:closed rule-ended");
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
  CHECK(EndsOf(f.Read()) == kept);
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
  CHECK(EndsOf(f.Read()) == std::vector<FlowId>{flows[2].number});
}

TEST_CASE("a packet without ends is of no batch") {
  Fixture f;
  f.Connect();
  TestFlow flow(&f.decider, kPod);
  f.Open(&flow, 5);
  CHECK(f.Kinds() == "question records:opened");
  CHECK(f.batches.empty());
  f.decider.Closed(&flow, Ended::kFinished, "");
  CHECK(f.Kinds() == "records:closed");
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
      ends += static_cast<int>(EndsOf({message}).size());
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
  std::vector<FlowRecord> opened;
  for (const auto& message : f.Read())
    for (const FlowRecord& record : RecordsOf(message)) opened.push_back(record);
  REQUIRE(opened.size() == 1);
  CHECK(opened[0].is_opening);
  CHECK(opened[0].time_ms >= 5000);
  CHECK(opened[0].time_ms < 60'000);
  f.decider.ForEachFlow([](const RuleDecider::FlowView& view) {
    CHECK(view.age_ms >= 5000);
    CHECK(view.age_ms < 60'000);
  });
  f.decider.Closed(&flow, Ended::kFinished, "");
  const auto closed = f.Read();
  REQUIRE(closed.size() == 1);
  const auto ends = RecordsOf(closed[0]);
  REQUIRE(ends.size() == 1);
  CHECK(ends[0].time_ms >= 5000);
  CHECK(ends[0].time_ms < 60'000);
}

TEST_CASE("openings and ends wait for others; a question takes along what precedes it") {
  Fixture f;
  f.reports.set_batch_ms(10'000);
  f.lease.Renew(60'000);
  f.decider.Install(Fixture::RuleFor(5, 80));
  f.Connect();
  CHECK(f.Kinds().empty());
  std::vector<std::unique_ptr<TestFlow>> flows;
  const auto open = [&] {
    flows.push_back(std::make_unique<TestFlow>(&f.decider, kPod));
    f.decider.Ask(flows.back().get(), Fixture::Plain(80));
    f.decider.Opened(flows.back().get());
    return flows.back().get();
  };
  TestFlow* const first = open();
  CHECK(f.Kinds().empty());
  f.decider.Closed(first, Ended::kFinished, "");
  open();
  CHECK(f.Kinds().empty());
  TestFlow asker(&f.decider, kPod);
  f.decider.Ask(&asker, Fixture::Plain(81));
  CHECK(f.Kinds() == "records:closed:opened question");
  // An opening that was sent has an end of its own.
  f.decider.Closed(flows.back().get(), Ended::kFinished, "");
  f.decider.AnswerRefuse(asker.number, 503);
  CHECK(f.Kinds().empty());
  // Many do not wait.
  for (size_t i = 1; i < Reports::kBatchEvents; i++) open();
  std::string kinds = "records:closed";
  for (size_t i = 1; i < Reports::kBatchEvents; i++) kinds += ":opened";
  CHECK(f.Kinds() == kinds);
  // Events that wait when the agent leaves: the openings are in the state of the next one, the ends come after it.
  TestFlow* const last = open();
  open();
  f.decider.Closed(last, Ended::kFinished, "");
  f.Leave();
  f.reports.set_batch_ms(0);
  f.Connect();
  CHECK(f.Kinds() == "records:closed");
}

TEST_CASE("a batch is sent after its time") {
  Fixture f;
  f.reports.set_batch_ms(20);
  f.lease.Renew(60'000);
  f.decider.Install(Fixture::RuleFor(5, 80));
  f.Connect();
  CHECK(f.Kinds().empty());
  TestFlow flow(&f.decider, kPod);
  f.decider.Ask(&flow, Fixture::Plain(80));
  f.decider.Opened(&flow);
  std::string kinds;
  const uint64_t until = BootMs() + 5'000;
  while (kinds.empty() && BootMs() < until) {
    f.loop.RunOnce(30);
    kinds = f.Kinds();
  }
  CHECK(kinds == "records:opened");
  f.decider.Closed(&flow, Ended::kFinished, "");
}

TEST_CASE("the end of a flow whose opening waited when the agent left replaces no kept end") {
  Fixture f;
  f.acknowledges = false;
  f.Connect();
  TestFlow first(&f.decider, kPod), second(&f.decider, kPod);
  f.Open(&first, 5);
  f.Read();
  f.decider.Closed(&first, Ended::kFinished, "");
  CHECK(f.Kinds() == "records:closed");
  f.reports.set_batch_ms(10'000);
  f.lease.Renew(60'000);
  f.decider.Ask(&second, Fixture::Plain(80));
  f.decider.Opened(&second);
  f.Leave();
  f.decider.Closed(&second, Ended::kFinished, "");
  f.reports.set_batch_ms(0);
  f.Connect();
  CHECK(EndsOf(f.Read()) == std::vector<FlowId>{first.number, second.number});
}
