// SPDX-License-Identifier: Apache-2.0
// For tests: a decider whose agent is the test, at the other end of a socket pair.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "agent/packet.h"
#include "agent/rule_decider.h"

namespace weft {

inline constexpr PodKey kPod = 11;

inline Address At(uint16_t port) { return {*ParseIp("10.0.0.1"), port}; }

struct TestFlow : Decided {
  TestFlow(RuleDecider* decider, PodKey pod) : decider(decider), key(pod), number(decider->NewFlowId()) {}
  FlowId id() const override { return number; }
  PodKey pod() const override { return key; }
  Address client() const override { return At(40'000); }
  uint64_t started_ms() const override { return started; }
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
  uint64_t started = BootMs();
};

// A record of FlowRecords.
struct FlowRecord {
  FlowId flow;
  RuleId rule;
  uint64_t time_ms;
  bool is_opening;
};

inline uint64_t U64At(const std::string& bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 8; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

inline std::vector<FlowRecord> RecordsOf(const pb::CarrierMessage& message) {
  std::vector<FlowRecord> records;
  const std::string& bytes = message.records().records();
  for (size_t at = 0; at + Reports::kRecordBytes <= bytes.size(); at += Reports::kRecordBytes)
    records.push_back({U64At(bytes, at), U64At(bytes, at + 8), U64At(bytes, at + 32), bytes[at + 60] == 1});
  return records;
}

// Flows whose ends are in these messages, in order.
inline std::vector<FlowId> EndsOf(const std::vector<pb::CarrierMessage>& messages) {
  std::vector<FlowId> ends;
  for (const pb::CarrierMessage& message : messages) {
    if (message.has_closed()) ends.push_back(message.closed().flow());
    for (const FlowRecord& record : RecordsOf(message))
      if (!record.is_opening) ends.push_back(record.flow);
  }
  return ends;
}

struct Fixture {
  Loop loop;
  AgentLink link;
  Lease lease;
  Fd ours, agent;
  Reports reports{&loop, &link, 3};
  RuleDecider decider;
  uint64_t session = 0;
  // Whether Read acknowledges.
  bool acknowledges = true;
  // Of the packets that Read has got.
  std::vector<uint64_t> batches;

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
      if (packet.batch() != 0) batches.push_back(packet.batch());
      if (acknowledges) reports.Acknowledge(packet.batch());
    }
    return messages;
  }
  std::string Kinds() {
    std::string kinds;
    for (const auto& message : Read()) {
      const char* const names[] = {"?",      "hello",   "state",      "key",  "question", "canceled", "records",
                                   "closed", "refused", "rule-ended", "done", "limit",    "flows",     "log"};
      kinds += (kinds.empty() ? "" : " ") + std::string(names[message.kind_case()]);
      for (const FlowRecord& record : RecordsOf(message)) kinds += record.is_opening ? ":opened" : ":closed";
    }
    return kinds;
  }
  // A flow with this rule, open.
  void Open(TestFlow* flow, RuleId rule) {
    decider.Ask(flow, Plain(80));
    decider.AnswerNewRule(flow->number, RuleFor(rule, 80));
    decider.Opened(flow);
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

}  // namespace weft
