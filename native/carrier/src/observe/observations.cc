// SPDX-License-Identifier: Apache-2.0
#include "observe/observations.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace weft {

namespace {
// Of one message, without its path and durations.
constexpr size_t kMessageBytes = 48;
// Of a varint with 32 bits.
constexpr size_t kDurationBytesMax = 5;

template <typename T>
void Append(std::string* to, T value) {
  to->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void SetKey(std::string* key, const Rule& rule, uint32_t target, const HttpSeen& seen) {
  key->clear();
  Append(key, rule.id);
  Append(key, target);
  Append(key, seen.status);
  Append(key, seen.grpc);
  *key += seen.method;
  *key += ' ';
  *key += seen.path_template;
}
}  // namespace

bool Observations::Add(const Rule& rule, uint32_t target, const HttpSeen& seen) {
  if (requests_of_pods_.Room(rule.pod) == 0) return false;
  SetKey(&key_, rule, target, seen);
  Group* const group = Find(key_, rule, target, seen);
  if (!group) return false;
  requests_of_pods_.Take(rule.pod, 1);
  group->requests.add_durations_us(static_cast<uint32_t>(std::min<uint64_t>(seen.duration_us, std::numeric_limits<uint32_t>::max())));
  return true;
}

Observations::Group* Observations::Find(const std::string& key, const Rule& rule, uint32_t target, const HttpSeen& seen) {
  const auto found = by_key_.find(key);
  if (found != by_key_.end()) {
    Group* const group = &groups_[found->second];
    if (static_cast<size_t>(group->requests.durations_us_size()) < kRequestsPerMessage) return group;
  }
  if (!groups_of_pods_.Take(rule.pod, 1)) return nullptr;
  Group* const group = &groups_.emplace_back();
  group->pod = rule.pod;
  group->requests.set_rule(rule.id);
  group->requests.set_target(target);
  group->requests.set_method(std::string(seen.method));
  group->requests.set_path_template(std::string(seen.path_template));
  group->requests.set_status(seen.status);
  if (seen.grpc != kNoGrpc) group->requests.set_grpc(seen.grpc);
  by_key_[key] = groups_.size() - 1;
  return group;
}

void Observations::TakeAll() {
  for (Group& group : groups_) {
    groups_of_pods_.Release(group.pod, 1);
    requests_of_pods_.Release(group.pod, static_cast<uint64_t>(group.requests.durations_us_size()));
  }
  by_key_.clear();
  sending_ = std::exchange(groups_, {});
}

size_t Observations::Encode(carrier::v1::FromCarrier* packet, size_t bytes_max) {
  if (sending_.empty()) TakeAll();
  size_t bytes = 0;
  encoded_ = 0;
  while (encoded_ < sending_.size() && bytes < bytes_max) {
    const carrier::v1::ObservedRequests& requests = sending_[encoded_++].requests;
    *(requests.has_grpc() ? packet->add_observed_calls() : packet->add_observed()) = requests;
    bytes += kMessageBytes + requests.path_template().size() + kDurationBytesMax * static_cast<size_t>(requests.durations_us_size());
  }
  return bytes;
}

void Observations::Sent() {
  sending_.erase(sending_.begin(), sending_.begin() + static_cast<ptrdiff_t>(encoded_));
  encoded_ = 0;
}

}  // namespace weft
