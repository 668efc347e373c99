// SPDX-License-Identifier: Apache-2.0
#include "agent/reports.h"

#include <google/protobuf/arena.h>

#include <iterator>
#include <unordered_set>
#include <utility>

namespace weft {

namespace {
constexpr uint64_t kLimitsEveryMs = 100;
constexpr size_t kReasonBytesMax = 512;
}  // namespace

Reports::Reports(Loop* loop, AgentLink* link, uint32_t worker) : loop_(loop), link_(link), worker_(worker) {}

Reports::~Reports() {
  loop_->CancelTurnEnd(this);
  loop_->Cancel(&limits_timer_);
}

void Reports::Add(Event event) {
  events_.push_back(std::move(event));
  if (mode_ == Mode::kLive) loop_->AtTurnEnd(this);
}

void Reports::Opened(const FlowReport& flow, uint64_t started_ms) {
  if (mode_ == Mode::kAway) return;
  Event event(Kind::kOpened);
  event.flow = flow;
  event.time_ms = started_ms;
  Add(std::move(event));
}

void Reports::Closed(const FlowReport& flow, bool was_open, uint64_t bytes_sent, uint64_t bytes_received, uint64_t duration_ms,
                     Ended ended, const std::string& reason) {
  Event event(Kind::kClosed);
  event.was_open = was_open;
  event.ended = ended;
  event.flow = flow;
  event.bytes_sent = bytes_sent;
  event.bytes_received = bytes_received;
  event.time_ms = duration_ms;
  event.reason = TextToWire(reason, kReasonBytesMax);
  Add(std::move(event));
}

void Reports::Canceled(FlowId flow) {
  if (mode_ == Mode::kAway) return;
  Event event(Kind::kCanceled);
  event.flow.id = flow;
  Add(std::move(event));
}

void Reports::RuleEnded(const RulePtr& rule) {
  Event event(Kind::kRuleEnded);
  event.flow.rule = rule;
  Add(std::move(event));
}

void Reports::Message(pb::CarrierMessage message) {
  if (mode_ == Mode::kAway) return;
  Event event(Kind::kMessage);
  event.message = std::make_unique<pb::CarrierMessage>(std::move(message));
  Add(std::move(event));
}

void Reports::LimitReached(const char* name) {
  limits_[name]++;
  if (mode_ == Mode::kLive) loop_->AtTurnEnd(this);
}

void Reports::AfterThese(std::function<void()> call) {
  if (mode_ == Mode::kAway) return;
  Event event(Kind::kCall);
  event.call = std::move(call);
  Add(std::move(event));
}

void Reports::Acknowledge(uint64_t batch) {
  while (!unacknowledged_.empty() && unacknowledged_.front().batch <= batch) unacknowledged_.pop_front();
}

void Reports::BeginState(uint64_t session) {
  KeepEnds();
  mode_ = Mode::kState;
  session_ = session;
}

void Reports::AddPacket(std::string packet) {
  if (mode_ == Mode::kAway) return;
  packets_.push_back(std::move(packet));
  if (!is_full_) FlushPackets();
}

void Reports::EndState(std::function<void()> on_sent) {
  on_state_sent_ = std::move(on_sent);
  Flush();
}

bool Reports::GoLive(uint64_t session) {
  if (mode_ != Mode::kState || session != session_) return false;
  mode_ = Mode::kLive;
  loop_->AtTurnEnd(this);
  return true;
}

void Reports::Leave() {
  KeepEnds();
  mode_ = Mode::kAway;
}

void Reports::OnWritable() {
  is_full_ = false;
  Flush();
}

void Reports::OnTurnEnd() { Flush(); }

void Reports::Flush() {
  if (mode_ == Mode::kAway || is_full_ || !FlushPackets()) return;
  if (on_state_sent_) std::exchange(on_state_sent_, nullptr)();
  if (mode_ != Mode::kLive) return;
  AddLimits();
  FlushEvents();
}

bool Reports::FlushPackets() {
  while (!packets_.empty()) {
    const AgentLink::Sent sent = link_->Send(session_, packets_.front());
    // A session that is over: Leave or BeginState follow.
    if (sent != AgentLink::Sent::kYes) {
      is_full_ = sent == AgentLink::Sent::kFull;
      return false;
    }
    packets_.pop_front();
  }
  return true;
}

bool Reports::FlushEvents() {
  while (!events_.empty()) {
    alignas(8) char first_block[4096];
    google::protobuf::ArenaOptions options;
    options.initial_block = first_block;
    options.initial_block_size = sizeof(first_block);
    google::protobuf::Arena arena(options);
    auto* const packet = google::protobuf::Arena::CreateMessage<pb::FromCarrier>(&arena);
    size_t bytes = 0, count = 0;
    bool has_ends = false;
    while (count < events_.size() && bytes < kPacketBytesFull && events_[count].kind != Kind::kCall) {
      has_ends = has_ends || IsEnd(events_[count].kind);
      bytes += Encode(events_[count++], packet->add_messages());
    }
    if (count > 0) {
      const uint64_t batch = has_ends ? last_batch_ + 1 : 0;
      packet->set_worker(worker_);
      packet->set_batch(batch);
      packet->SerializeToString(&buffer_);
      const AgentLink::Sent sent = link_->Send(session_, buffer_);
      if (sent != AgentLink::Sent::kYes) {
        is_full_ = sent == AgentLink::Sent::kFull;
        return false;
      }
      OnSent(count, batch);
    }
    while (!events_.empty() && events_.front().kind == Kind::kCall) {
      const auto call = std::move(events_.front().call);
      events_.pop_front();
      call();
    }
  }
  return true;
}

void Reports::OnSent(size_t count, uint64_t batch) {
  const auto sent = events_.begin() + static_cast<ptrdiff_t>(count);
  if (batch != 0) {
    last_batch_ = batch;
    for (auto event = events_.begin(); event != sent; ++event) {
      if (!IsEnd(event->kind)) continue;
      event->batch = batch;
      unacknowledged_.push_back(std::move(*event));
    }
  }
  events_.erase(events_.begin(), sent);
}

size_t Reports::Encode(const Event& event, pb::CarrierMessage* to) {
  switch (event.kind) {
    case Kind::kOpened: {
      pb::Opened* const opened = to->mutable_opened();
      opened->set_flow(event.flow.id);
      opened->set_rule(event.flow.rule->id);
      opened->set_target(event.flow.target);
      ToWire(event.flow.client, opened->mutable_client());
      opened->set_age_ms(BootMs() - event.time_ms);
      return 80;
    }
    case Kind::kClosed: {
      pb::Closed* const closed = to->mutable_closed();
      closed->set_flow(event.flow.id);
      closed->set_rule(event.flow.rule->id);
      closed->set_target(event.flow.target);
      ToWire(event.flow.client, closed->mutable_client());
      closed->set_bytes_sent(event.bytes_sent);
      closed->set_bytes_received(event.bytes_received);
      closed->set_duration_ms(event.time_ms);
      closed->set_ended(static_cast<pb::Ended>(event.ended));
      closed->set_reason(event.reason);
      return 112 + event.reason.size();
    }
    case Kind::kCanceled:
      to->mutable_canceled()->set_flow(event.flow.id);
      return 16;
    case Kind::kRuleEnded:
      to->mutable_rule_ended()->set_rule(event.flow.rule->id);
      return 16;
    case Kind::kMessage:
      *to = *event.message;
      return to->ByteSizeLong();
    case Kind::kCall:
      break;
  }
  return 0;
}

void Reports::AddLimits() {
  if (limits_.empty()) return;
  if (loop_->now_ms() < limits_sent_ms_ + kLimitsEveryMs) {
    if (limits_timer_ == 0)
      limits_timer_ = loop_->After(kLimitsEveryMs, [this] {
        limits_timer_ = 0;
        Flush();
      });
    return;
  }
  limits_sent_ms_ = loop_->now_ms();
  for (const auto& [name, times] : limits_) {
    pb::CarrierMessage message;
    message.mutable_limit()->set_name(name);
    message.mutable_limit()->set_times(times);
    Message(std::move(message));
  }
  limits_.clear();
}

void Reports::KeepEnds() {
  packets_.clear();
  on_state_sent_ = nullptr;
  is_full_ = false;
  // They are sent again, before what ended later.
  events_.insert(events_.begin(), std::make_move_iterator(unacknowledged_.begin()), std::make_move_iterator(unacknowledged_.end()));
  unacknowledged_.clear();
  std::unordered_set<RuleId> with_ends;
  for (const Event& event : events_)
    if (event.kind == Kind::kClosed) with_ends.insert(event.flow.rule->id);
  std::erase_if(events_, [&](const Event& event) {
    if (event.kind == Kind::kRuleEnded) return !with_ends.contains(event.flow.rule->id);
    return event.kind != Kind::kClosed;
  });
}

void Reports::ForEachKeptRule(const std::function<void(const RulePtr& rule)>& call) const {
  std::unordered_set<RuleId> seen;
  for (const Event& event : events_)
    if (event.kind == Kind::kClosed && seen.insert(event.flow.rule->id).second) call(event.flow.rule);
}

void Reports::ForEachKeptFlow(const std::function<void(const FlowReport& flow, bool was_open, uint64_t duration_ms)>& call) const {
  for (const Event& event : events_)
    if (event.kind == Kind::kClosed) call(event.flow, event.was_open, event.time_ms);
}

}  // namespace weft
