// SPDX-License-Identifier: Apache-2.0
// What one worker tells the agent, in order. Openings and ends of flows wait for others for a moment, so that the agent wakes up for many
// of them at once; a question does not wait, nor what precedes it.
//
// Ends of flows, and the rules that they belong to, are kept until an agent has acknowledged the packet that had them. An agent that ends
// before leaves them to the next one, which gets these flows in State, and their ends after it. The rest is forgotten: State says it. What
// is kept is never dropped, since a flow is admitted only if there is room for its events (HasRoom).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "agent/agent_link.h"
#include "agent/wire.h"
#include "base/clock.h"
#include "base/loop.h"
#include "observe/observations.h"
#include "rules/rule.h"

namespace weft {

// A flow as messages name it.
struct FlowReport {
  FlowId id = 0;
  RulePtr rule;
  uint32_t target = 0;
  Address client;
};

class Reports : public TurnEnd {
 public:
  static constexpr size_t kEventsMax = 100'000;
  // Events that grow with what peers do.
  static constexpr size_t kRefusedMax = 10'000;
  // Openings and ends wait for at most this long.
  static constexpr uint64_t kBatchMs = 50;
  // This many do not wait.
  static constexpr size_t kBatchEvents = 512;
  // A record of carrier.proto's FlowRecords.
  static constexpr size_t kRecordBytes = 64;
  // The number of an event; 0 is none.
  using EventNumber = uint64_t;

  // `worker`: the number by which the agent acknowledges.
  Reports(Loop* loop, AgentLink* link, uint32_t worker);
  ~Reports() override;

  bool has_agent() const { return mode_ != Mode::kAway; }
  bool is_live() const { return mode_ == Mode::kLive; }
  size_t waiting() const { return events_.size(); }
  // Sent, but not acknowledged.
  size_t unacknowledged() const { return unacknowledged_.size(); }
  // For one flow more beside `flows`: each has at most two events that may wait.
  bool HasRoom(size_t flows) const { return events_.size() + unacknowledged_.size() + 2 * flows + 2 <= events_max_; }
  void set_events_max(size_t events_max) { events_max_ = events_max; }
  void set_batch_ms(uint64_t batch_ms) { batch_ms_ = batch_ms; }

  // `started_ms`: BootMs() at the flow's beginning.
  EventNumber Opened(const FlowReport& flow, uint64_t started_ms);
  // `opened`: the event of its opening, which is not sent if it still waits.
  void Closed(const FlowReport& flow, bool was_open, EventNumber opened, uint64_t bytes_sent, uint64_t bytes_received,
              uint64_t duration_ms, Ended ended, const std::string& reason);
  void Canceled(FlowId flow);
  void RuleEnded(const RulePtr& rule);
  // Not kept without an agent.
  void Message(pb::CarrierMessage message);
  void LimitReached(const char* name);
  // A request of a flow of this rule. It is sent before the end of the rule.
  void Observed(const Rule& rule, uint32_t target, const HttpSeen& seen);
  // After everything that was reported so far was sent. Never if the session ends before.
  void AfterThese(std::function<void()> call);

  // The agent has recorded the ends in packets up to this one.
  void Acknowledge(uint64_t batch);

  // The session of an agent begins: State goes out first (AddPacket), events wait.
  void BeginState(uint64_t session);
  // A packet of State or Flows.
  void AddPacket(std::string packet);
  // Calls back once all packets are sent.
  void EndState(std::function<void()> on_sent);
  // False: that session is over.
  bool GoLive(uint64_t session);
  // The session is over.
  void Leave();
  // There is room again for packets.
  void OnWritable();
  // Rules of kept ends, each once.
  void ForEachKeptRule(const std::function<void(const RulePtr& rule)>& call) const;
  // Flows whose end no agent has acknowledged. Call it while none is sent: after BeginState.
  void ForEachKeptFlow(const std::function<void(const FlowReport& flow, bool was_open, uint64_t duration_ms)>& call) const;

  void OnTurnEnd() override;

 private:
  enum class Mode : uint8_t { kAway, kState, kLive };
  enum class Kind : uint8_t { kNothing, kOpened, kClosed, kCanceled, kRuleEnded, kMessage, kCall };
  struct Event {
    explicit Event(Kind kind) : kind(kind) {}
    Kind kind;
    bool was_open = false;
    Ended ended = Ended::kNone;
    FlowReport flow;
    uint64_t bytes_sent = 0;
    uint64_t bytes_received = 0;
    uint64_t time_ms = 0;  // the flow's beginning, or its duration
    uint64_t batch = 0;    // if it was sent
    std::string reason;
    std::unique_ptr<pb::CarrierMessage> message;
    std::function<void()> call;
  };

  // The agent acknowledges these.
  static bool IsEnd(Kind kind) { return kind == Kind::kClosed || kind == Kind::kRuleEnded; }
  EventNumber Add(Event event);
  void FlushSoon();
  void KeepEnds();
  void Flush();
  // False: no room.
  bool FlushPackets();
  void FlushEvents();
  // The first events were sent in this packet: their ends wait for its acknowledgment.
  void KeepSent(size_t count, uint64_t batch);
  void AddLimits();
  // Returns the bytes, nearly.
  static size_t Encode(const Event& event, pb::FromCarrier* to);

  Loop* const loop_;
  AgentLink* const link_;
  const uint32_t worker_;
  Mode mode_ = Mode::kAway;
  uint64_t session_ = 0;
  bool is_full_ = false;
  size_t events_max_ = kEventsMax;
  uint64_t batch_ms_ = kBatchMs;
  std::deque<std::string> packets_;
  std::function<void()> on_state_sent_;
  std::deque<Event> events_;
  // Of the first event that waits. Numbers are never used again.
  EventNumber first_ = 1;
  uint64_t flushed_ms_ = 0;
  Loop::TimerId batch_timer_ = 0;
  Observations observations_;
  std::deque<Event> unacknowledged_;  // ends of flows and of rules, in the order of their batches
  uint64_t last_batch_ = 0;
  std::map<std::string, uint32_t> limits_;
  uint64_t limits_sent_ms_ = 0;
  Loop::TimerId limits_timer_ = 0;
  std::string buffer_;
};

}  // namespace weft
