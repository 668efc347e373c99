// SPDX-License-Identifier: Apache-2.0
// Where flows get their decisions: from a rule at once, or from the agent. One per worker thread; the only owner of the worker's rules.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "rules/rule.h"

namespace weft {

struct HttpSeen;

struct CapturedQuestion {
  Address client;
  Address dialed;  // port 0: the kernel holds no handoff record
  Address picked;  // port 0: none
};
struct TunnelQuestion {
  std::string peer;
  Address remote;
  Address local;
  Address authority;
  std::string forwarded, baggage, traceparent, source_identity;
};
struct PlainQuestion {
  Address remote;
  Address local;
};
using Question = std::variant<CapturedQuestion, TunnelQuestion, PlainQuestion>;

struct Decision {
  // Null: refused.
  RulePtr rule;
  // Index of the target to use.
  uint32_t target = 0;
  // HTTP status of a refusal; 503 if no agent responded.
  uint32_t status = 0;
};

// The reason of Cut when the carrier itself ends. The agent knows it by this text.
inline constexpr char kCarrierEnds[] = "the carrier ends";

// A flow as its decider sees it. The decider never owns it.
class Decided {
 public:
  virtual ~Decided() = default;
  virtual FlowId id() const = 0;
  virtual PodKey pod() const = 0;
  // The client's address for the log: that of the captured or plain connection; of a tunnel the address that it forwards, if its IP is the
  // remote's, else the remote address.
  virtual Address client() const = 0;
  virtual uint64_t started_ms() const = 0;  // of BootMs()
  virtual uint64_t bytes_sent() const = 0;
  virtual uint64_t bytes_received() const = 0;
  // The response to Ask or Failed; never within that call if the agent is asked, maybe within it if a rule matches.
  virtual void OnDecision(const Decision& decision) = 0;
  // The rule was revoked or the flow is cut: resets both ends at once. `Closed` follows within the call.
  virtual void Cut(const std::string& reason) = 0;
};

class Decider {
 public:
  virtual ~Decider() = default;
  virtual FlowId NewFlowId() = 0;
  // Each call of Ask is the beginning of a flow, each flow calls Closed or Canceled exactly once.
  virtual void Ask(Decided* flow, const Question& question) = 0;
  // The target of the last decision could not be reached: asks the agent, which may name another target.
  virtual void Failed(Decided* flow, const Failure& failure) = 0;
  // Both ends are connected.
  virtual void Opened(Decided* flow) = 0;
  // The flow has ended after a decision with a rule. Before `Opened` the end is kRefused or kCut, or the client left (kPodReset, kPeerReset).
  virtual void Closed(Decided* flow, Ended ended, const std::string& reason) = 0;
  // The client left before any decision with a rule, or the last decision refused it: nothing refers to the flow any more.
  virtual void Canceled(Decided* flow) = 0;
  // A connection of a peer that was refused before it made a request (codes of docs/errors.md).
  virtual void Refused(PodKey pod, const char* code, const std::string& reason, const Address& remote, const std::string& peer) = 0;
  // A request of an open flow, whose rule says that requests are counted.
  virtual void Observed(Decided* flow, const HttpSeen& seen) = 0;
  // Counts a reached limit, by its name in docs/limits.md.
  virtual void LimitReached(const char* name) = 0;
};

}  // namespace weft
