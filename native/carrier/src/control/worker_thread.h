// SPDX-License-Identifier: Apache-2.0
// One worker: a thread with its loop, its rules and its part of the pods. Everything but Post is for its own thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent/agent_link.h"
#include "agent/lease.h"
#include "agent/reports.h"
#include "agent/rule_decider.h"
#include "base/loop.h"
#include "control/traffic.h"

namespace weft {

class WorkerThread {
 public:
  WorkerThread(uint32_t index, AgentLink* link, const Lease* lease, MakeTraffic make_traffic,
               const RuleDecider::Limits& limits = {});
  // Stops and joins.
  ~WorkerThread();
  void Start();
  // From any thread.
  void Post(std::function<void(WorkerThread& worker)> call);

  // An agent's session begins: what this worker holds goes out. Calls back when it is sent.
  void SendState(uint64_t session, std::function<void()> on_sent);
  void GoLive(uint64_t session);
  void LeaveAgent();
  void SendFlows(uint32_t call);
  void ClosePod(PodKey pod, uint64_t grace_ms);

  RuleDecider& decider() { return decider_; }
  Reports& reports() { return reports_; }
  Traffic& traffic() { return *traffic_; }

 private:
  Loop loop_;
  Reports reports_;
  RuleDecider decider_;
  const MakeTraffic make_traffic_;
  std::unique_ptr<Traffic> traffic_;
  const uint32_t index_;
  std::thread thread_;
};

// Calls back once it was released by all who hold it: the last of several workers has acted.
class Countdown {
 public:
  explicit Countdown(std::function<void()> call) : call_(std::move(call)) {}
  ~Countdown() { call_(); }

 private:
  std::function<void()> call_;
};

}  // namespace weft
