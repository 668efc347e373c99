// SPDX-License-Identifier: Apache-2.0
// The rules of one worker thread: by id, and by what they match. A pod may have so many matches, and all pods together; beyond it the
// least recently used match goes, of the pod that has most. A rule that matches nothing any more lives until its last flow ends.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <unordered_map>
#include <variant>
#include <vector>

#include "rules/rule.h"

namespace weft {

using Match = decltype(Rule::match);

struct RuleEntry;

// A flow's use of a rule: a link in the list of the rule's flows.
struct RuleUse {
  FlowId flow = 0;
  RuleEntry* entry = nullptr;
  RuleUse* previous = nullptr;
  RuleUse* next = nullptr;
};

struct RuleEntry {
  RulePtr rule;
  bool is_revoked = false;
  bool is_matched = false;
  uint32_t flows = 0;
  RuleUse* first = nullptr;
  std::list<RuleEntry*>::iterator recent;  // if is_matched
};

class RuleTable {
 public:
  struct Limits {
    uint32_t matches_of_pod_max = 4096;
    uint32_t matches_max = 16'384;
  };
  // The rule matches nothing any more and has no flow.
  using OnEnded = std::function<void(const RulePtr& rule)>;

  RuleTable(const Limits& limits, OnEnded on_ended);

  void AddPod(PodKey pod);
  // The rules of the pod match nothing any more.
  void RemovePod(PodKey pod);

  // Null: the id is known, or the pod is not. Call Settle once the first flow uses the rule, or none will.
  RuleEntry* Add(RulePtr rule);
  RuleEntry* Find(RuleId id);
  bool Has(RuleId id) const { return by_id_.contains(id); }
  // The most recently used rule from now on.
  RuleEntry* Lookup(PodKey pod, const Match& match);
  void Begin(RuleEntry* entry, RuleUse* use);
  // May end the rule.
  void End(RuleUse* use);
  // Later connections do not match. May end the rule.
  void Revoke(RuleEntry* entry);
  // Ends the rule if it has no match and no flow.
  void Settle(RuleEntry* entry);

  void ForEach(const std::function<void(const RuleEntry&)>& call) const;
  size_t rules() const { return by_id_.size(); }
  size_t matches() const { return by_match_.size(); }
  uint64_t evictions() const { return evictions_; }

 private:
  struct Key {
    PodKey pod;
    Match match;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const noexcept;
  };
  // Front: the most recently used.
  using Recent = std::list<RuleEntry*>;

  void Unmatch(RuleEntry* entry);
  void Evict(Recent* of_pod);

  const Limits limits_;
  const OnEnded on_ended_;
  std::unordered_map<RuleId, std::unique_ptr<RuleEntry>> by_id_;
  std::unordered_map<Key, RuleEntry*, KeyHash> by_match_;
  std::unordered_map<PodKey, Recent> pods_;
  uint64_t evictions_ = 0;
};

}  // namespace weft
