// SPDX-License-Identifier: Apache-2.0
// A worker for unit tests, whose decider records its calls.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/loop.h"
#include "net/pod_sockets.h"
#include "net/sock_map.h"
#include "observe/http_watch.h"
#include "rules/decider.h"
#include "worker.h"

namespace weft {

struct FakeDecider : Decider {
  FlowId NewFlowId() override { return ++last; }
  void Ask(Decided* flow, const Question& question) override {
    asked++;
    this->flow = flow;
    this->question = question;
    if (on_ask) on_ask(flow);
  }
  void Failed(Decided* flow, const Failure& failure) override {
    failures.push_back(failure);
    this->flow = flow;
    if (on_failed) on_failed(flow);
  }
  void Opened(Decided*) override { opened++; }
  void Closed(Decided* flow, Ended ended, const std::string& reason) override {
    closed++;
    this->ended = ended;
    this->reason = reason;
    bytes_sent = flow->bytes_sent();
    bytes_received = flow->bytes_received();
    this->flow = nullptr;
  }
  void Canceled(Decided*) override {
    canceled++;
    flow = nullptr;
  }
  void Refused(PodKey, const char*, const std::string&, const Address&, const std::string&) override {}
  void Observed(Decided*, const HttpSeen& seen) override {
    seen_requests.push_back(std::string(seen.method) + " " + std::string(seen.path_template) + " " + std::to_string(seen.status));
  }
  void LimitReached(const char* name) override { limits.push_back(name); }

  FlowId last = 0;
  int asked = 0, opened = 0, closed = 0, canceled = 0;
  // The latest one that is not over.
  Decided* flow = nullptr;
  Question question;
  std::function<void(Decided*)> on_ask, on_failed;
  std::vector<Failure> failures;
  std::vector<std::string> limits;
  std::vector<std::string> seen_requests;
  Ended ended = Ended::kNone;
  std::string reason;
  uint64_t bytes_sent = 0, bytes_received = 0;
};

// Stands for a part that the tested code refers to and does not use.
template <typename Part>
Part& Unused() {
  alignas(Part) static char storage[sizeof(Part)];
  return *reinterpret_cast<Part*>(storage);
}

}  // namespace weft
