// SPDX-License-Identifier: Apache-2.0
// A rule: the result of one decision of the agent, by which the carrier acts without asking again (carrier.proto).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/address.h"

namespace weft {

using RuleId = uint64_t;
using FlowId = uint64_t;
using PodKey = uint64_t;  // cookie of the pod's network namespace

struct CapturedMatch {
  Address dialed;
  Address picked;  // port 0: none
  Ip client;
  bool operator==(const CapturedMatch&) const = default;
};
struct TunnelMatch {
  std::string peer;
  Ip remote;
  Address authority;
  bool operator==(const TunnelMatch&) const = default;
};
struct PlainMatch {
  Ip remote;
  Address local;
  bool operator==(const PlainMatch&) const = default;
};

struct TunnelTarget {
  Address next;
  std::string authority;
  std::vector<std::string> expected;
  std::string baggage;
  bool spread = false;
};
struct DirectTarget {
  PodKey from = 0;
  Address to;
  bool show_client = false;
  Address client{};  // shown in place of the flow's own; port 0: none
};
using Target = std::variant<TunnelTarget, DirectTarget>;

struct Rule {
  RuleId id = 0;
  PodKey pod = 0;
  std::variant<std::monostate, CapturedMatch, TunnelMatch, PlainMatch> match;
  std::vector<Target> targets;
  std::string context;
  // The requests of its flows are counted.
  bool observe = false;
};
using RulePtr = std::shared_ptr<const Rule>;

// Stages of carrier.proto, in the same order.
enum class Stage : uint8_t {
  kNone = 0,
  kDial = 1,
  kTunnelConnect = 2,
  kTunnelTls = 3,
  kTunnelIdentity = 4,
  kTunnelRefused = 5,
  kTunnelReset = 6,
  kTunnelTimeout = 7,
  kNoCertificate = 8,
  kPodGone = 9,
};
struct Failure {
  Stage stage = Stage::kNone;
  int error = 0;        // errno, 0 if none
  uint32_t status = 0;  // HTTP status, 0 if none
  std::string why;
};

enum class Ended : uint8_t { kNone = 0, kFinished = 1, kPodReset = 2, kPeerReset = 3, kCut = 4, kRefused = 5 };

}  // namespace weft
