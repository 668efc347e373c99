// SPDX-License-Identifier: Apache-2.0
#include "rules/rule_decider.h"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <memory>

#include "control/packet.h"

using namespace weft;

namespace {
constexpr PodKey kPod = 11;

Address At(uint16_t port) { return {*ParseIp("10.0.0.1"), port}; }

struct TestFlow : Decided {
  TestFlow(RuleDecider* decider, PodKey pod) : decider(decider), key(pod), number(decider->NewFlowId()) {}
  FlowId id() const override { return number; }
  PodKey pod() const override { return key; }
  Address client() const override { return At(40'000); }
  uint64_t started_ms() const override { return WallMs(); }
  uint64_t bytes_sent() const override { return 5; }
  uint64_t bytes_received() const override { return 6; }
  void OnDecision(const Decision& decision) override {
    decisions.push_back(decision);
    if (!decision.rule) decider->Canceled(this);
  }
  void Cut(const std::string& reason) override {
    cuts++;
    decider->Closed(this, Ended::kCut, reason);
  }
  RuleDecider* decider;
  PodKey key;
  FlowId number;
  std::vector<Decision> decisions;
  int cuts = 0;
};

struct FlowRecord {
  uint64_t flow, rule;
  uint8_t kind;
};
uint64_t U64At(const std::string& bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 8; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}
std::vector<FlowRecord> RecordsOf(const pb::CarrierMessage& message) {
  std::vector<FlowRecord> records;
  const std::string& bytes = message.records().records();
  for (size_t at = 0; at + Reports::kRecordBytes <= bytes.size(); at += Reports::kRecordBytes)
    records.push_back({U64At(bytes, at), U64At(bytes, at + 8), static_cast<uint8_t>(bytes[at + 60])});
  return records;
}

struct Fixture {
  Loop loop;
  AgentLink link;
  Lease lease;
  Fd ours, agent;
  Reports reports{&loop, &link};
  RuleDecider decider;
  uint64_t session = 0;

  explicit Fixture(const RuleDecider::Limits& limits = {}) : decider(&loop, &reports, &lease, 3, limits) {
    decider.AddPod(kPod);
    decider.AddPod(kPod + 1);
    reports.set_batch_ms(0);
  }
  void Connect(bool live = true) {
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    ours = Fd(pair[0]);
    agent = Fd(pair[1]);
    session = link.Open(ours.get());
    reports.BeginState(session);
    if (live) Live();
  }
  void Live() {
    reports.GoLive(session);
    decider.RepeatQuestions();
  }
  void Leave() {
    link.Close();
    reports.Leave();
    decider.RefuseQuestions();
  }
  std::vector<pb::CarrierMessage> Read() {
    loop.RunOnce(0);
    loop.RunOnce(0);
    std::vector<pb::CarrierMessage> messages;
    std::string buffer;
    std::vector<Fd> descriptors;
    while (ReceivePacket(agent.get(), &buffer, &descriptors) == Received::kPacket) {
      pb::FromCarrier packet;
      REQUIRE(packet.ParseFromString(buffer));
      for (auto& message : packet.messages()) messages.push_back(message);
    }
    return messages;
  }
  std::string Kinds() {
    std::string kinds;
    for (const auto& message : Read()) {
      const char* const names[] = {"?",      "hello",   "state",      "key",  "question", "canceled", "records",
                                   "closed", "refused", "rule-ended", "done", "limit",    "flows",     "log"};
      kinds += (kinds.empty() ? "" : " ") + std::string(names[message.kind_case()]);
      for (const FlowRecord& record : RecordsOf(message)) kinds += record.kind == 1 ? ":opened" : ":closed";
    }
    return kinds;
  }
  static Question Plain(uint16_t port) { return PlainQuestion{At(40'000), At(port)}; }
  static RulePtr RuleFor(RuleId id, uint16_t port, size_t targets = 1) {
    auto rule = std::make_shared<Rule>();
    rule->id = id;
    rule->pod = kPod;
    rule->match = PlainMatch{At(1).ip, At(port)};
    for (size_t i = 0; i < targets; i++) rule->targets.push_back(DirectTarget{kPod, At(port), true, {}});
    return rule;
  }
};
}  // namespace

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
  CHECK(ends[0].kind == 2);
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
  CHECK(f.decider.Cut({second.number, 12345}, "cut") == 1);
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

TEST_CASE("a pod may have as many questions as are still free") {
  RuleDecider::Limits limits;
  limits.questions_max = 8;
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
  CHECK(asked == 4);
  CHECK(ask(kPod + 1));
  CHECK(ask(kPod + 1));
  CHECK_FALSE(ask(kPod + 1));
  CHECK(f.decider.questions() == 6);
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
    for (const auto& message : f.Read()) ends += static_cast<int>(RecordsOf(message).size());
    if (f.link.TakeWasFull()) f.reports.OnWritable();
  }
  CHECK(ends == permitted);
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
