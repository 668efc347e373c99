// SPDX-License-Identifier: Apache-2.0
// Requests that the flows of one worker had, until the agent gets them: those of one rule, target, method, path template and status
// together. Each pod has a share of the room. What finds none is lost and counted, for traffic never waits for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "carrier.pb.h"
#include "net/pod_shares.h"
#include "observe/http_seen.h"
#include "rules/rule.h"

namespace weft {

class Observations {
 public:
  // Different kinds of requests, and requests, that wait.
  static constexpr uint64_t kGroupsMax = 4096;
  static constexpr uint64_t kRequestsMax = 64 << 10;
  // Of one message.
  static constexpr size_t kRequestsPerMessage = 4096;

  explicit Observations(uint64_t groups_max = kGroupsMax, uint64_t requests_max = kRequestsMax)
      : groups_of_pods_(groups_max), requests_of_pods_(requests_max) {}

  // False: there was no room, and the request is lost.
  bool Add(const Rule& rule, uint32_t target, const HttpSeen& seen);
  bool is_empty() const { return groups_.empty() && sending_.empty(); }
  // Adds messages to the packet until it has `bytes_max`, nearly. Returns their bytes.
  size_t Encode(carrier::v1::FromCarrier* packet, size_t bytes_max);
  // The packet was sent.
  void Sent();
  // Everything that waits is in packets that were encoded so far.
  bool is_encoded() const { return groups_.empty() && encoded_ == sending_.size(); }

 private:
  struct Group {
    PodKey pod;
    carrier::v1::ObservedRequests requests;
  };
  Group* Find(const std::string& key, const Rule& rule, uint32_t target, const HttpSeen& seen);
  void TakeAll();

  PodShares groups_of_pods_, requests_of_pods_;
  std::deque<Group> groups_;
  std::unordered_map<std::string, size_t> by_key_;
  std::string key_;
  // They are sent before later ones.
  std::deque<Group> sending_;
  size_t encoded_ = 0;
};

}  // namespace weft
