// SPDX-License-Identifier: Apache-2.0
// Budgets that all pods of a thread, or of the process, share. One pod gets less the more is in use, so that something is left for others.
// Pods that work together could use up a budget all the same, each taking its part of what the others left. So each pod has a floor, and a
// part of the budget is for floors only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>

#include "rules/rule.h"

namespace weft {

// The figures are in docs/limits.md.
constexpr uint64_t kFloorPart = 512;
constexpr uint64_t kReservedPart = 8;

// How much more a pod may take that holds `of_pod` of the `held` of a budget of `max`. Up to its floor: all that is free. Beyond it: until
// it holds `weight` times what it leaves of the part that is not reserved for floors.
constexpr uint64_t RoomOfPod(uint64_t max, uint64_t held, uint64_t of_pod, uint64_t weight = 1) {
  const auto left = [](uint64_t all, uint64_t used) { return all > used ? all - used : 0; };
  const uint64_t floor = std::max<uint64_t>(max / kFloorPart, 1);
  const uint64_t shared = weight * left(max - max / kReservedPart, held);
  return std::max(std::min(left(floor, of_pod), left(max, held)), left(shared, of_pod) / (weight + 1));
}

class PodShares {
 public:
  explicit PodShares(uint64_t max, uint64_t weight = 1) : max_(max), weight_(weight) {}
  void set_max(uint64_t max) { max_ = max; }
  uint64_t held() const { return held_; }
  bool is_used_up() const { return held_ >= max_; }

  // How much more the pod may take.
  uint64_t Room(PodKey pod) const {
    const auto found = of_pods_.find(pod);
    return RoomOfPod(max_, held_, found == of_pods_.end() ? 0 : found->second, weight_);
  }
  // False: there is no room for all of it, and nothing was taken.
  bool Take(PodKey pod, uint64_t count) {
    if (count == 0) return true;
    if (count > Room(pod)) return false;
    of_pods_[pod] += count;
    held_ += count;
    return true;
  }
  // At most what the pod holds.
  void Release(PodKey pod, uint64_t count) {
    const auto found = of_pods_.find(pod);
    if (found == of_pods_.end()) return;
    count = std::min(count, found->second);
    held_ -= count;
    if ((found->second -= count) == 0) of_pods_.erase(found);
  }

 private:
  uint64_t max_;
  const uint64_t weight_;
  uint64_t held_ = 0;
  std::unordered_map<PodKey, uint64_t> of_pods_;
};

}  // namespace weft
