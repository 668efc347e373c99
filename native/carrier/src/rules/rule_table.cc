// SPDX-License-Identifier: Apache-2.0
#include "rules/rule_table.h"

#include <algorithm>
#include <utility>

namespace weft {

namespace {
template <typename T>
void Mix(size_t* hash, const T& value) {
  *hash ^= std::hash<T>()(value) + 0x9e3779b97f4a7c15ull + (*hash << 6) + (*hash >> 2);
}
}  // namespace

size_t RuleTable::KeyHash::operator()(const Key& key) const noexcept {
  size_t hash = key.match.index();
  Mix(&hash, key.pod);
  if (const auto* captured = std::get_if<CapturedMatch>(&key.match)) {
    Mix(&hash, captured->dialed);
    Mix(&hash, captured->picked);
    Mix(&hash, captured->client);
  } else if (const auto* tunnel = std::get_if<TunnelMatch>(&key.match)) {
    Mix(&hash, tunnel->peer);
    Mix(&hash, tunnel->remote);
    Mix(&hash, tunnel->authority);
  } else if (const auto* plain = std::get_if<PlainMatch>(&key.match)) {
    Mix(&hash, plain->remote);
    Mix(&hash, plain->local);
  }
  return hash;
}

RuleTable::RuleTable(const Limits& limits, OnEnded on_ended) : limits_(limits), on_ended_(std::move(on_ended)) {}

void RuleTable::AddPod(PodKey pod) { pods_.try_emplace(pod); }

void RuleTable::RemovePod(PodKey pod) {
  const auto found = pods_.find(pod);
  if (found == pods_.end()) return;
  while (!found->second.empty()) {
    RuleEntry* const entry = found->second.front();
    Unmatch(entry);
    Settle(entry);
  }
  pods_.erase(found);
}

RuleEntry* RuleTable::Add(RulePtr rule) {
  const auto pod = pods_.find(rule->pod);
  if (pod == pods_.end()) return nullptr;
  const auto [place, is_new] = by_id_.try_emplace(rule->id);
  if (!is_new) return nullptr;
  place->second = std::make_unique<RuleEntry>();
  RuleEntry* const entry = place->second.get();
  entry->rule = std::move(rule);
  if (std::holds_alternative<std::monostate>(entry->rule->match)) return entry;

  if (const auto same = by_match_.find({entry->rule->pod, entry->rule->match}); same != by_match_.end()) {
    RuleEntry* const former = same->second;
    Unmatch(former);
    Settle(former);
  }
  if (pod->second.size() >= limits_.matches_of_pod_max) Evict(&pod->second);
  if (by_match_.size() >= limits_.matches_max) {
    const auto most = std::max_element(pods_.begin(), pods_.end(),
                                       [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
    Evict(&most->second);
  }
  by_match_.emplace(Key{entry->rule->pod, entry->rule->match}, entry);
  entry->recent = pod->second.insert(pod->second.begin(), entry);
  entry->is_matched = true;
  return entry;
}

RuleEntry* RuleTable::Find(RuleId id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second.get();
}

RuleEntry* RuleTable::Lookup(PodKey pod, const Match& match) {
  const auto found = by_match_.find({pod, match});
  if (found == by_match_.end()) return nullptr;
  RuleEntry* const entry = found->second;
  Recent& recent = pods_.at(pod);
  recent.splice(recent.begin(), recent, entry->recent);
  return entry;
}

void RuleTable::Begin(RuleEntry* entry, RuleUse* use) {
  use->entry = entry;
  use->previous = nullptr;
  use->next = entry->first;
  if (entry->first) entry->first->previous = use;
  entry->first = use;
  entry->flows++;
}

void RuleTable::End(RuleUse* use) {
  RuleEntry* const entry = use->entry;
  if (!entry) return;
  if (use->previous)
    use->previous->next = use->next;
  else
    entry->first = use->next;
  if (use->next) use->next->previous = use->previous;
  *use = RuleUse{.flow = use->flow};
  entry->flows--;
  Settle(entry);
}

void RuleTable::Revoke(RuleEntry* entry) {
  entry->is_revoked = true;
  if (entry->is_matched) Unmatch(entry);
  Settle(entry);
}

void RuleTable::Settle(RuleEntry* entry) {
  if (entry->is_matched || entry->flows > 0) return;
  const RulePtr rule = entry->rule;
  by_id_.erase(rule->id);
  on_ended_(rule);
}

void RuleTable::ForEach(const std::function<void(const RuleEntry&)>& call) const {
  for (const auto& [id, entry] : by_id_) call(*entry);
}

void RuleTable::Unmatch(RuleEntry* entry) {
  by_match_.erase({entry->rule->pod, entry->rule->match});
  pods_.at(entry->rule->pod).erase(entry->recent);
  entry->is_matched = false;
}

void RuleTable::Evict(Recent* of_pod) {
  evictions_++;
  RuleEntry* const entry = of_pod->back();
  Unmatch(entry);
  Settle(entry);
}

}  // namespace weft
