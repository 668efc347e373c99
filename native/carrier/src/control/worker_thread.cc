// SPDX-License-Identifier: Apache-2.0
#include "control/worker_thread.h"

#include <pthread.h>

#include <utility>

namespace weft {

namespace {
// Fills packets with messages of one kind.
template <typename Chunk>
class Packets {
 public:
  Packets(Reports* reports, std::function<Chunk*(pb::CarrierMessage*)> begin) : reports_(reports), begin_(std::move(begin)) {}
  // The chunk that an entry of so many bytes goes into.
  Chunk* For(size_t bytes) {
    if (chunk_ && bytes_ + bytes > kPacketBytesFull) End();
    if (!chunk_) chunk_ = begin_(packet_.add_messages());
    bytes_ += bytes + 8;
    return chunk_;
  }
  void End() {
    if (!chunk_) return;
    reports_->AddPacket(packet_.SerializeAsString());
    packet_.Clear();
    chunk_ = nullptr;
    bytes_ = 0;
  }

 private:
  Reports* const reports_;
  const std::function<Chunk*(pb::CarrierMessage*)> begin_;
  pb::FromCarrier packet_;
  Chunk* chunk_ = nullptr;
  size_t bytes_ = 0;
};

constexpr size_t kFlowBytes = 96;

void FlowToWire(const RuleDecider::FlowView& from, pb::Flow* to) {
  to->set_id(from.report.id);
  to->set_rule(from.report.rule->id);
  to->set_target(from.report.target);
  ToWire(from.report.client, to->mutable_client());
  to->set_age_ms(from.age_ms);
  to->set_bytes_sent(from.bytes_sent);
  to->set_bytes_received(from.bytes_received);
  to->set_is_opening(from.is_opening);
}
}  // namespace

WorkerThread::WorkerThread(uint32_t index, AgentLink* link, const Lease* lease, MakeTraffic make_traffic,
                           const RuleDecider::Limits& limits)
    : reports_(&loop_, link, index), decider_(&loop_, &reports_, lease, index, limits), make_traffic_(std::move(make_traffic)), index_(index) {}

WorkerThread::~WorkerThread() {
  if (!thread_.joinable()) return;
  loop_.Post([this] { loop_.Stop(); });
  thread_.join();
}

void WorkerThread::Start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), ("worker-" + std::to_string(index_)).c_str());
    // What this makes may have memory of the thread.
    traffic_ = make_traffic_(loop_, decider_);
    loop_.Run();
    traffic_.reset();
  });
}

void WorkerThread::Post(std::function<void(WorkerThread& worker)> call) {
  loop_.Post([this, call = std::move(call)] { call(*this); });
}

void WorkerThread::SendState(uint64_t session, std::function<void()> on_sent) {
  reports_.BeginState(session);
  Packets<pb::State> packets(&reports_, [](pb::CarrierMessage* message) { return message->mutable_state(); });
  const auto add = [&](const RulePtr& rule, bool is_matched) {
    pb::RuleState wire;
    ToWire(*rule, wire.mutable_rule());
    wire.set_is_matched(is_matched);
    *packets.For(wire.ByteSizeLong())->add_rules() = std::move(wire);
  };
  decider_.ForEachRule(add);
  reports_.ForEachKeptRule([&](const RulePtr& rule) {
    if (!decider_.rules().Has(rule->id)) add(rule, false);
  });
  decider_.ForEachFlow([&](const RuleDecider::FlowView& flow) { FlowToWire(flow, packets.For(kFlowBytes)->add_flows()); });
  reports_.ForEachKeptFlow([&](const FlowReport& flow, bool was_open, uint64_t duration_ms) {
    FlowToWire({flow, duration_ms, 0, 0, !was_open}, packets.For(kFlowBytes)->add_flows());
  });
  packets.End();
  reports_.EndState(std::move(on_sent));
}

void WorkerThread::GoLive(uint64_t session) {
  if (!reports_.GoLive(session)) return;
  decider_.RepeatQuestions();
}

void WorkerThread::LeaveAgent() {
  reports_.Leave();
  decider_.RefuseQuestions();
}

void WorkerThread::SendFlows(uint32_t call) {
  Packets<pb::Flows> packets(&reports_, [call](pb::CarrierMessage* message) {
    message->mutable_flows()->set_call(call);
    return message->mutable_flows();
  });
  decider_.ForEachFlow([&](const RuleDecider::FlowView& flow) { FlowToWire(flow, packets.For(kFlowBytes)->add_flows()); });
  packets.End();
}

void WorkerThread::ClosePod(PodKey pod, uint64_t grace_ms) {
  decider_.RemovePod(pod);
  traffic_->ClosePod(pod, grace_ms);
}

}  // namespace weft
