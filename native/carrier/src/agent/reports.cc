// SPDX-License-Identifier: Apache-2.0
#include "agent/reports.h"

#include <google/protobuf/arena.h>

#include <cstring>
#include <iterator>
#include <unordered_set>
#include <utility>

namespace weft {

namespace {
constexpr uint64_t kLimitsEveryMs = 100;
constexpr size_t kReasonBytesMax = 512;

template <typename T>
void Put(char* to, T value) {
  for (size_t i = 0; i < sizeof(T); i++) to[i] = static_cast<char>(value >> (8 * i));
}

// The bytes of a new record, behind those of the last message if there are any.
char* NewRecord(pb::FromCarrier* batch) {
  const int count = batch->messages_size();
  pb::CarrierMessage* const last = count > 0 ? batch->mutable_messages(count - 1) : nullptr;
  pb::CarrierMessage* const message = last && last->has_records() ? last : batch->add_messages();
  std::string* const records = message->mutable_records()->mutable_records();
  records->resize(records->size() + Reports::kRecordBytes);
  return records->data() + records->size() - Reports::kRecordBytes;
}

enum class RecordKind : uint8_t { kOpened = 1, kClosed = 2 };
}  // namespace

Reports::Reports(Loop* loop, AgentLink* link, uint32_t worker) : loop_(loop), link_(link), worker_(worker) {}

Reports::~Reports() {
  loop_->CancelTurnEnd(this);
  loop_->Cancel(&limits_timer_);
  loop_->Cancel(&batch_timer_);
}

Reports::EventNumber Reports::Add(Event event) {
  const Kind kind = event.kind;
  events_.push_back(std::move(event));
  const EventNumber number = first_ + events_.size() - 1;
  if (mode_ != Mode::kLive) return number;
  if (kind == Kind::kMessage || kind == Kind::kCall || events_.size() >= kBatchEvents)
    loop_->AtTurnEnd(this);
  else
    FlushSoon();
  return number;
}

void Reports::FlushSoon() {
  const uint64_t now = loop_->now_ms(), due = flushed_ms_ + batch_ms_;
  if (now >= due) {
    loop_->AtTurnEnd(this);
  } else if (batch_timer_ == 0) {
    batch_timer_ = loop_->After(due - now, [this] {
      batch_timer_ = 0;
      Flush();
    });
  }
}

Reports::EventNumber Reports::Opened(const FlowReport& flow, uint64_t started_ms) {
  if (mode_ == Mode::kAway) return 0;
  Event event(Kind::kOpened);
  event.flow = flow;
  event.time_ms = started_ms;
  return Add(std::move(event));
}

void Reports::Closed(const FlowReport& flow, bool was_open, EventNumber opened, uint64_t bytes_sent, uint64_t bytes_received,
                     uint64_t duration_ms, Ended ended, const std::string& reason) {
  if (opened >= first_) events_[opened - first_] = Event(Kind::kNothing);
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

void Reports::Observed(const Rule& rule, uint32_t target, const HttpSeen& seen) {
  // Without an agent requests wait for the next one, as long as there is room.
  if (!observations_.Add(rule, target, seen)) return LimitReached("observed-requests");
  if (mode_ == Mode::kLive) FlushSoon();
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

void Reports::FlushEvents() {
  flushed_ms_ = loop_->now_ms();
  loop_->Cancel(&batch_timer_);
  while (!events_.empty() || !observations_.is_empty()) {
    alignas(8) char first_block[4096];
    google::protobuf::ArenaOptions options;
    options.initial_block = first_block;
    options.initial_block_size = sizeof(first_block);
    google::protobuf::Arena arena(options);
    auto* const packet = google::protobuf::Arena::CreateMessage<pb::FromCarrier>(&arena);
    size_t bytes = observations_.Encode(packet, kPacketBytesFull), count = 0;
    bool has_ends = false;
    // The end of a rule follows all that was observed of it.
    while (observations_.is_encoded() && count < events_.size() && bytes < kPacketBytesFull && events_[count].kind != Kind::kCall) {
      has_ends = has_ends || IsEnd(events_[count].kind);
      bytes += Encode(events_[count++], packet);
    }
    if (packet->messages_size() > 0 || packet->observed_size() > 0 || packet->observed_calls_size() > 0) {
      const uint64_t batch = has_ends ? last_batch_ + 1 : 0;
      packet->set_worker(worker_);
      packet->set_batch(batch);
      packet->SerializeToString(&buffer_);
      const AgentLink::Sent sent = link_->Send(session_, buffer_);
      if (sent != AgentLink::Sent::kYes) {
        is_full_ = sent == AgentLink::Sent::kFull;
        return;
      }
      observations_.Sent();
      if (has_ends) KeepSent(count, batch);
    }
    events_.erase(events_.begin(), events_.begin() + static_cast<ptrdiff_t>(count));
    first_ += count;
    while (!events_.empty() && events_.front().kind == Kind::kCall) {
      const auto call = std::move(events_.front().call);
      events_.pop_front();
      first_++;
      call();
    }
  }
}

void Reports::KeepSent(size_t count, uint64_t batch) {
  last_batch_ = batch;
  for (size_t i = 0; i < count; i++) {
    Event& event = events_[i];
    if (!IsEnd(event.kind)) continue;
    event.batch = batch;
    unacknowledged_.push_back(std::move(event));
  }
}

size_t Reports::Encode(const Event& event, pb::FromCarrier* to) {
  const auto record = [&](RecordKind kind, uint64_t time_ms) {
    char* const at = NewRecord(to);
    Put(at, event.flow.id);
    Put(at + 8, event.flow.rule->id);
    Put(at + 16, event.bytes_sent);
    Put(at + 24, event.bytes_received);
    Put(at + 32, time_ms);
    memcpy(at + 40, event.flow.client.ip.bytes.data(), event.flow.client.ip.bytes.size());
    Put(at + 56, event.flow.client.port);
    Put(at + 58, static_cast<uint16_t>(event.flow.target));
    Put(at + 60, static_cast<uint8_t>(kind));
    Put(at + 61, static_cast<uint8_t>(event.ended));
    return kRecordBytes;
  };
  switch (event.kind) {
    case Kind::kNothing:
    case Kind::kCall:
      return 0;
    case Kind::kOpened:
      return record(RecordKind::kOpened, BootMs() - event.time_ms);
    case Kind::kClosed: {
      if (event.was_open && event.reason.empty()) return record(RecordKind::kClosed, event.time_ms);
      pb::Closed* const closed = to->add_messages()->mutable_closed();
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
      to->add_messages()->mutable_canceled()->set_flow(event.flow.id);
      return 16;
    case Kind::kRuleEnded:
      to->add_messages()->mutable_rule_ended()->set_rule(event.flow.rule->id);
      return 16;
    case Kind::kMessage:
      *to->add_messages() = *event.message;
      return event.message->ByteSizeLong();
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
  loop_->Cancel(&batch_timer_);
  // Events move: the numbers of those that wait name nothing from now on.
  first_ += events_.size();
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
