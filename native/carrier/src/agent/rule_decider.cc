// SPDX-License-Identifier: Apache-2.0
#include "agent/rule_decider.h"

#include <algorithm>

namespace weft {

namespace {
constexpr uint32_t kUnavailable = 503;
constexpr uint32_t kRepeatsMax = 3;

// Nothing if no rule may match: the agent has to see what the match does not hold.
Match MatchOf(const Question& question) {
  if (const auto* captured = std::get_if<CapturedQuestion>(&question)) {
    if (captured->dialed.port == 0) return {};
    return CapturedMatch{captured->dialed, captured->picked, captured->client.ip};
  }
  if (const auto* plain = std::get_if<PlainQuestion>(&question)) return PlainMatch{plain->remote.ip, plain->local};
  const auto& tunnel = std::get<TunnelQuestion>(question);
  if (!tunnel.source_identity.empty() || tunnel.local.ip != tunnel.authority.ip) return {};
  // The header of src/hbone/headers.ts, and nothing else.
  constexpr std::string_view kBegin = "for=\"";
  if (!tunnel.forwarded.empty()) {
    std::string_view client = tunnel.forwarded;
    if (!client.starts_with(kBegin) || !client.ends_with('"') || client.size() <= kBegin.size()) return {};
    client = client.substr(kBegin.size(), client.size() - kBegin.size() - 1);
    const std::optional<Address> stated = ParseAddress(client);
    if (!stated || stated->ip != tunnel.remote.ip) return {};
  }
  return TunnelMatch{tunnel.peer, tunnel.remote.ip, tunnel.authority};
}

void QuestionToWire(const Question& from, pb::Question* to) {
  if (const auto* captured = std::get_if<CapturedQuestion>(&from))
    ToWire(*captured, to->mutable_captured());
  else if (const auto* tunnel = std::get_if<TunnelQuestion>(&from))
    ToWire(*tunnel, to->mutable_tunnel());
  else
    ToWire(std::get<PlainQuestion>(from), to->mutable_plain());
}
}  // namespace

RuleDecider::RuleDecider(Loop* loop, Reports* reports, const Lease* lease, uint32_t worker, const Limits& limits)
    : loop_(loop),
      reports_(reports),
      lease_(lease),
      worker_(worker),
      limits_(limits),
      rules_(limits.rules, [this](const RulePtr& rule) { reports_->RuleEnded(rule); }),
      asked_of_pods_(limits.questions_max),
      random_(static_cast<uint32_t>(BootMs()) + worker) {}

RuleDecider::~RuleDecider() { loop_->Cancel(&expiry_); }

FlowId RuleDecider::NewFlowId() { return ++last_flow_ * kWorkersMax + worker_; }

void RuleDecider::Ask(Decided* flow, const Question& question) {
  FlowState* const state = &flows_[flow->id()];
  state->flow = flow;
  if (!reports_->HasRoom(flows_.size())) {
    LimitReached("carrier-events");
    return Refuse(state, kUnavailable);
  }
  if (lease_->IsValid()) {
    const Match match = MatchOf(question);
    if (!std::holds_alternative<std::monostate>(match))
      if (RuleEntry* const entry = rules_.Lookup(flow->pod(), match)) return Permit(state, entry);
  }
  pb::CarrierMessage message;
  message.mutable_question()->set_flow(flow->id());
  message.mutable_question()->set_pod(flow->pod());
  QuestionToWire(question, message.mutable_question());
  AskAgent(state, std::move(message));
}

void RuleDecider::Failed(Decided* flow, const Failure& failure) {
  const auto found = flows_.find(flow->id());
  if (found == flows_.end() || !found->second.use.entry) return;
  FlowState* const state = &found->second;
  pb::CarrierMessage message;
  pb::Question* const question = message.mutable_question();
  question->set_flow(flow->id());
  question->set_pod(flow->pod());
  question->mutable_failure()->set_rule(state->use.entry->rule->id);
  question->mutable_failure()->set_target(state->target);
  question->mutable_failure()->set_stage(static_cast<pb::Stage>(failure.stage));
  question->mutable_failure()->set_error(failure.error);
  question->mutable_failure()->set_status(failure.status);
  question->mutable_failure()->set_why(TextToWire(failure.why));
  ToWire(flow->client(), question->mutable_failure()->mutable_client());
  AskAgent(state, std::move(message));
}

void RuleDecider::Opened(Decided* flow) {
  const auto found = flows_.find(flow->id());
  if (found == flows_.end() || !found->second.use.entry) return;
  found->second.is_open = true;
  found->second.opened = reports_->Opened(ReportOf(found->second), flow->started_ms());
}

void RuleDecider::Closed(Decided* flow, Ended ended, const std::string& reason) {
  const auto found = flows_.find(flow->id());
  if (found == flows_.end()) return;
  FlowState* const state = &found->second;
  const bool was_asked = state->is_asked;
  EndQuestion(state);
  if (state->use.entry) {
    // The agent knows of the flows that it refused.
    if (!state->is_refused_by_agent) {
      reports_->Closed(ReportOf(*state), state->is_open, state->opened, flow->bytes_sent(), flow->bytes_received(),
                       BootMs() - flow->started_ms(), ended, reason);
    }
    rules_.End(&state->use);
  } else if (was_asked) {
    reports_->Canceled(flow->id());
  }
  flows_.erase(found);
}

void RuleDecider::Canceled(Decided* flow) {
  // A flow that had a rule has an end.
  Closed(flow, Ended::kRefused, "");
}

void RuleDecider::Refused(PodKey pod, const char* code, const std::string& reason, const Address& remote, const std::string& peer) {
  const uint64_t second = loop_->now_ms() / 1000;
  if (second != refused_second_) refused_events_ = 0;
  refused_second_ = second;
  if (!reports_->has_agent() || ++refused_events_ > limits_.refused_events_max || reports_->waiting() > Reports::kRefusedMax)
    return LimitReached("carrier-refused-events");
  pb::CarrierMessage message;
  pb::Refused* const refused = message.mutable_refused();
  refused->set_pod(pod);
  refused->set_code(code);
  refused->set_reason(TextToWire(reason));
  ToWire(remote, refused->mutable_remote());
  refused->set_peer(TextToWire(peer));
  reports_->Message(std::move(message));
}

void RuleDecider::Observed(Decided* flow, const HttpSeen& seen) {
  const auto found = flows_.find(flow->id());
  if (found != flows_.end() && found->second.use.entry) reports_->Observed(*found->second.use.entry->rule, found->second.target, seen);
}

void RuleDecider::LimitReached(const char* name) { reports_->LimitReached(name); }

void RuleDecider::Install(RulePtr rule) {
  RuleEntry* const entry = rules_.Add(rule);
  if (entry) return rules_.Settle(entry);
  // The agent forgets the rule.
  if (!rules_.Find(rule->id)) reports_->RuleEnded(rule);
}

void RuleDecider::AnswerNewRule(FlowId flow, RulePtr rule) {
  FlowState* const state = FindAsked(flow);
  if (!state) return Install(std::move(rule));
  if (rule->pod != state->flow->pod() || rules_.Find(rule->id)) {
    Say(Level::kError, "rule " + std::to_string(rule->id) + " is not of the asker's pod, or its id is in use");
    return Refuse(state, kUnavailable);
  }
  RuleEntry* const entry = rules_.Add(rule);
  if (!entry) {
    // The pod left, and its rules with it.
    reports_->RuleEnded(rule);
    return Refuse(state, kUnavailable);
  }
  Permit(state, entry);
}

void RuleDecider::AnswerRule(FlowId flow, RuleId rule) {
  FlowState* const state = FindAsked(flow);
  if (!state) return;
  RuleEntry* const entry = rules_.Find(rule);
  if (entry && !entry->is_revoked && entry->rule->pod == state->flow->pod()) return Permit(state, entry);
  // The rule ended before the answer came. The agent reads that before it reads the question again.
  if (++state->asked->repeats > kRepeatsMax || (entry && entry->rule->pod != state->flow->pod())) return Refuse(state, kUnavailable);
  if (reports_->is_live()) reports_->Message(state->asked->question);
}

void RuleDecider::AnswerRefuse(FlowId flow, uint32_t status) {
  FlowState* const state = FindAsked(flow);
  if (!state) return;
  state->is_refused_by_agent = status != 0;
  Refuse(state, status != 0 ? status : kUnavailable);
}

uint32_t RuleDecider::Revoke(const std::vector<RuleId>& rules, bool cut, const std::string& reason) {
  uint32_t count = 0;
  std::vector<FlowId> flows;
  for (const RuleId id : rules) {
    RuleEntry* const entry = rules_.Find(id);
    if (!entry) continue;
    flows.clear();
    if (cut)
      for (const RuleUse* use = entry->first; use; use = use->next) flows.push_back(use->flow);
    rules_.Revoke(entry);
    for (const FlowId flow : flows) count += CutOne(flow, reason);
  }
  return count;
}

void RuleDecider::CutAll(const std::string& reason) {
  std::vector<FlowId> flows;
  flows.reserve(flows_.size());
  for (const auto& [id, state] : flows_) flows.push_back(id);
  for (const FlowId flow : flows) CutOne(flow, reason);
}

void RuleDecider::RefuseQuestions() {
  std::vector<FlowId> flows;
  for (const Asked& asked : asked_) flows.push_back(asked.flow);
  for (const FlowId flow : flows)
    if (FlowState* const state = FindAsked(flow)) {
      LimitReached("carrier-no-agent");
      Refuse(state, kUnavailable);
    }
}

void RuleDecider::RepeatQuestions() {
  for (const Asked& asked : asked_) reports_->Message(asked.question);
}

void RuleDecider::ForEachFlow(const std::function<void(const FlowView& flow)>& call) const {
  const uint64_t now = BootMs();
  for (const auto& [id, state] : flows_)
    if (state.use.entry && !state.is_refused_by_agent)
      call({ReportOf(state), now - state.flow->started_ms(), state.flow->bytes_sent(), state.flow->bytes_received(), !state.is_open});
}

void RuleDecider::ForEachRule(const std::function<void(const RulePtr& rule, bool is_matched)>& call) const {
  rules_.ForEach([&](const RuleEntry& entry) { call(entry.rule, entry.is_matched); });
}

FlowReport RuleDecider::ReportOf(const FlowState& state) {
  return {state.flow->id(), state.use.entry->rule, state.target, state.flow->client()};
}

void RuleDecider::AskAgent(FlowState* state, pb::CarrierMessage question) {
  const PodKey pod = state->flow->pod();
  if (!reports_->has_agent()) {
    LimitReached("carrier-no-agent");
    return Refuse(state, kUnavailable);
  }
  if (!asked_of_pods_.Take(pod, 1)) {
    LimitReached("carrier-questions");
    return Refuse(state, kUnavailable);
  }
  asked_.push_back({loop_->now_ms() + limits_.question_ms_max, state->flow->id(), pod, std::move(question)});
  state->asked = std::prev(asked_.end());
  state->is_asked = true;
  // Otherwise it goes out once the agent has the state.
  if (reports_->is_live()) reports_->Message(state->asked->question);
  if (expiry_ == 0) ExpireQuestions();
}

void RuleDecider::EndQuestion(FlowState* state) {
  if (!state->is_asked) return;
  asked_of_pods_.Release(state->asked->pod, 1);
  asked_.erase(state->asked);
  state->is_asked = false;
}

void RuleDecider::Permit(FlowState* state, RuleEntry* entry) {
  EndQuestion(state);
  RuleUse former = state->use;
  if (former.entry != entry) {
    if (former.entry) rules_.End(&state->use);
    state->use.flow = state->flow->id();
    rules_.Begin(entry, &state->use);
  }
  const size_t targets = entry->rule->targets.size();
  state->target = targets > 1 ? static_cast<uint32_t>(random_() % targets) : 0;
  state->flow->OnDecision({entry->rule, state->target, 0});
}

void RuleDecider::Refuse(FlowState* state, uint32_t status) {
  EndQuestion(state);
  state->flow->OnDecision({nullptr, 0, status});
}

RuleDecider::FlowState* RuleDecider::FindAsked(FlowId flow) {
  const auto found = flows_.find(flow);
  return found == flows_.end() || !found->second.is_asked ? nullptr : &found->second;
}

bool RuleDecider::CutOne(FlowId flow, const std::string& reason) {
  const auto found = flows_.find(flow);
  if (found == flows_.end()) return false;
  found->second.flow->Cut(reason);
  return true;
}

void RuleDecider::ExpireQuestions() {
  expiry_ = 0;
  while (!asked_.empty() && asked_.front().until_ms <= loop_->now_ms()) {
    FlowState* const state = FindAsked(asked_.front().flow);
    LimitReached("carrier-question-time");
    reports_->Canceled(asked_.front().flow);
    Refuse(state, kUnavailable);
  }
  if (!asked_.empty())
    expiry_ = loop_->After(std::max<uint64_t>(asked_.front().until_ms - loop_->now_ms(), 1000), [this] { ExpireQuestions(); });
}

void RuleDecider::Say(Level level, const std::string& text) { reports_->Message(LogToWire(level, text)); }

}  // namespace weft
