// SPDX-License-Identifier: Apache-2.0
// The decider of one worker: a rule that matches decides at once while the lease is valid, otherwise the agent is asked. Without an agent
// a question is refused.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/lease.h"
#include "agent/reports.h"
#include "base/loop.h"
#include "net/pod_shares.h"
#include "rules/decider.h"
#include "rules/rule_table.h"

namespace weft {

class RuleDecider : public Decider {
 public:
  struct Limits {
    RuleTable::Limits rules;
    // Questions without an answer. Each pod has a share of them.
    uint32_t questions_max = 8192;
    uint64_t question_ms_max = 30'000;
    // Refused events of peers, in a second.
    uint32_t refused_events_max = 1000;
  };
  static constexpr uint32_t kWorkersMax = 256;
  static uint32_t WorkerOf(FlowId flow) { return flow % kWorkersMax; }

  RuleDecider(Loop* loop, Reports* reports, const Lease* lease, uint32_t worker, const Limits& limits);
  ~RuleDecider() override;

  // Decider
  FlowId NewFlowId() override;
  void Ask(Decided* flow, const Question& question) override;
  void Failed(Decided* flow, const Failure& failure) override;
  void Opened(Decided* flow) override;
  void Closed(Decided* flow, Ended ended, const std::string& reason) override;
  void Canceled(Decided* flow) override;
  void Refused(PodKey pod, const char* code, const std::string& reason, const Address& remote, const std::string& peer) override;
  void Observed(Decided* flow, const HttpSeen& seen) override;
  void LimitReached(const char* name) override;

  // Of the agent.
  void AddPod(PodKey pod) { rules_.AddPod(pod); }
  void RemovePod(PodKey pod) { rules_.RemovePod(pod); }
  // A rule that no flow waits for: its asker has left.
  void Install(RulePtr rule);
  void AnswerNewRule(FlowId flow, RulePtr rule);
  void AnswerRule(FlowId flow, RuleId rule);
  // `status` 0: the answer was not valid.
  void AnswerRefuse(FlowId flow, uint32_t status);
  // Flows that were cut.
  uint32_t Revoke(const std::vector<RuleId>& rules, bool cut, const std::string& reason);
  void CutAll(const std::string& reason);
  // The agent left: its questions are refused.
  void RefuseQuestions();
  // Another agent is there: it gets the questions that the former one has not answered.
  void RepeatQuestions();

  struct FlowView {
    FlowReport report;
    uint64_t age_ms, bytes_sent, bytes_received;
    bool is_opening;
  };
  // Flows that have a rule.
  void ForEachFlow(const std::function<void(const FlowView& flow)>& call) const;
  void ForEachRule(const std::function<void(const RulePtr& rule, bool is_matched)>& call) const;
  // A line of the agent's log.
  void Say(Level level, const std::string& text);
  size_t flows() const { return flows_.size(); }
  size_t questions() const { return asked_.size(); }
  const RuleTable& rules() const { return rules_; }

 private:
  struct Asked {
    uint64_t until_ms;
    FlowId flow;
    PodKey pod;
    pb::CarrierMessage question;
    // Answers that named a rule that had ended.
    uint32_t repeats = 0;
  };
  struct FlowState {
    Decided* flow = nullptr;
    RuleUse use;
    uint32_t target = 0;
    Reports::EventNumber opened = 0;
    bool is_open = false;
    bool is_refused_by_agent = false;
    bool is_asked = false;
    std::list<Asked>::iterator asked;  // if is_asked
  };
  using Flows = std::unordered_map<FlowId, FlowState>;

  static FlowReport ReportOf(const FlowState& state);
  void AskAgent(FlowState* state, pb::CarrierMessage question);
  void EndQuestion(FlowState* state);
  void Permit(FlowState* state, RuleEntry* entry);
  // Ends the question and responds.
  void Refuse(FlowState* state, uint32_t status);
  FlowState* FindAsked(FlowId flow);
  bool CutOne(FlowId flow, const std::string& reason);
  void ExpireQuestions();

  Loop* const loop_;
  Reports* const reports_;
  const Lease* const lease_;
  const uint32_t worker_;
  const Limits limits_;
  RuleTable rules_;
  Flows flows_;
  std::list<Asked> asked_;  // in the order of until_ms
  PodShares asked_of_pods_;
  Loop::TimerId expiry_ = 0;
  FlowId last_flow_ = 0;
  std::minstd_rand random_;
  uint64_t refused_second_ = 0;
  uint32_t refused_events_ = 0;
};

}  // namespace weft
