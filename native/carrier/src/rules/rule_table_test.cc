// SPDX-License-Identifier: Apache-2.0
#include "rules/rule_table.h"

#include <doctest/doctest.h>

using namespace weft;

namespace {
Address At(uint16_t port) { return {*ParseIp("10.0.0.1"), port}; }

RulePtr Plain(RuleId id, PodKey pod, uint16_t port) {
  auto rule = std::make_shared<Rule>();
  rule->id = id;
  rule->pod = pod;
  rule->match = PlainMatch{*ParseIp("10.0.0.2"), At(port)};
  rule->targets = {DirectTarget{pod, At(port), true, {}}};
  return rule;
}

Match Of(uint16_t port) { return PlainMatch{*ParseIp("10.0.0.2"), At(port)}; }

struct Fixture {
  std::vector<RuleId> ended;
  RuleTable table;
  explicit Fixture(RuleTable::Limits limits = {}) : table(limits, [this](const RulePtr& rule) { ended.push_back(rule->id); }) {
    table.AddPod(1);
    table.AddPod(2);
  }
  RuleEntry* Add(RulePtr rule) {
    RuleEntry* const entry = table.Add(std::move(rule));
    if (entry) table.Settle(entry);
    return entry;
  }
};
}  // namespace

TEST_CASE("a rule matches its own pod and attributes only") {
  Fixture f;
  f.Add(Plain(1, 1, 80));
  CHECK(f.table.Lookup(1, Of(80)));
  CHECK_FALSE(f.table.Lookup(2, Of(80)));
  CHECK_FALSE(f.table.Lookup(1, Of(81)));
  CHECK_FALSE(f.table.Lookup(1, TunnelMatch{"spiffe://a/ns/b/sa/c", *ParseIp("10.0.0.2"), At(80)}));
}

TEST_CASE("ids are unique, and pods have to be known") {
  Fixture f;
  CHECK(f.Add(Plain(1, 1, 80)));
  CHECK_FALSE(f.Add(Plain(1, 1, 81)));
  CHECK_FALSE(f.Add(Plain(2, 3, 80)));
  CHECK(f.table.rules() == 1);
}

TEST_CASE("a revoked rule matches nothing and ends with its last flow") {
  Fixture f;
  RuleEntry* const entry = f.Add(Plain(1, 1, 80));
  RuleUse a, b;
  f.table.Begin(entry, &a);
  f.table.Begin(entry, &b);
  f.table.Revoke(entry);
  CHECK_FALSE(f.table.Lookup(1, Of(80)));
  f.table.End(&a);
  CHECK(f.ended.empty());
  CHECK(f.table.Find(1) == entry);
  f.table.End(&b);
  CHECK(f.ended == std::vector<RuleId>{1});
  CHECK_FALSE(f.table.Find(1));
  f.table.End(&b);  // not in use: nothing happens
}

TEST_CASE("flows of a rule are a list from which any may leave") {
  Fixture f;
  RuleEntry* const entry = f.Add(Plain(1, 1, 80));
  RuleUse uses[3];
  for (FlowId i = 0; i < 3; i++) {
    uses[i].flow = i + 1;
    f.table.Begin(entry, &uses[i]);
  }
  f.table.End(&uses[1]);
  std::vector<FlowId> flows;
  for (const RuleUse* use = entry->first; use; use = use->next) flows.push_back(use->flow);
  CHECK(flows == std::vector<FlowId>{3, 1});
  CHECK(entry->flows == 2);
}

TEST_CASE("a rule without a match ends with its flow") {
  Fixture f;
  auto rule = std::make_shared<Rule>(*Plain(7, 1, 80));
  rule->match = std::monostate();
  RuleEntry* const entry = f.table.Add(rule);
  RuleUse use;
  f.table.Begin(entry, &use);
  f.table.Settle(entry);
  CHECK(f.ended.empty());
  f.table.End(&use);
  CHECK(f.ended == std::vector<RuleId>{7});
}

TEST_CASE("a newer rule with the same match takes its place") {
  Fixture f;
  f.Add(Plain(1, 1, 80));
  f.Add(Plain(2, 1, 80));
  CHECK(f.ended == std::vector<RuleId>{1});
  CHECK(f.table.Lookup(1, Of(80))->rule->id == 2);
}

TEST_CASE("the least recently used match of a pod goes at the pod's limit") {
  Fixture f({.matches_of_pod_max = 2, .matches_max = 100});
  f.Add(Plain(1, 1, 80));
  RuleEntry* const second = f.Add(Plain(2, 1, 81));
  RuleUse use;
  f.table.Begin(second, &use);
  CHECK(f.table.Lookup(1, Of(80)));
  f.Add(Plain(3, 1, 82));
  CHECK(f.table.Lookup(1, Of(80)));
  CHECK_FALSE(f.table.Lookup(1, Of(81)));
  CHECK(f.table.Lookup(1, Of(82)));
  // It has a flow.
  CHECK(f.ended.empty());
  f.table.End(&use);
  CHECK(f.ended == std::vector<RuleId>{2});
}

TEST_CASE("at the limit of the worker, the pod with the most matches gives way") {
  Fixture f({.matches_of_pod_max = 100, .matches_max = 4});
  f.Add(Plain(1, 1, 80));
  for (uint16_t i = 0; i < 10; i++) f.Add(Plain(10 + i, 2, 90 + i));
  CHECK(f.table.Lookup(1, Of(80)));
  CHECK(f.table.matches() == 4);
  CHECK(f.table.evictions() == 7);
}

TEST_CASE("a pod that leaves ends its rules") {
  Fixture f;
  RuleEntry* const entry = f.Add(Plain(1, 1, 80));
  f.Add(Plain(2, 1, 81));
  RuleUse use;
  f.table.Begin(entry, &use);
  f.table.RemovePod(1);
  CHECK(f.ended == std::vector<RuleId>{2});
  CHECK_FALSE(f.Add(Plain(3, 1, 82)));
  f.table.End(&use);
  CHECK(f.ended == std::vector<RuleId>{2, 1});
}
