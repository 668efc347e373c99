// SPDX-License-Identifier: Apache-2.0
#include "net/descriptor_shares.h"

#include <sys/resource.h>

#include <algorithm>

namespace weft {

namespace {
// Of the process itself: listeners, network namespaces that are handed over, sockets in stock. The larger of a number and a part.
constexpr uint64_t kOwnMin = 512;
constexpr uint64_t kOwnPart = 16;
constexpr uint64_t kMin = 16;
}  // namespace

DescriptorShares& DescriptorShares::OfProcess() {
  static DescriptorShares shares;
  return shares;
}

uint32_t DescriptorShares::MaxOf(uint64_t limit_of_process) {
  const uint64_t own = std::max(kOwnMin, limit_of_process / kOwnPart);
  const uint64_t left = limit_of_process > own ? limit_of_process - own : 0;
  return static_cast<uint32_t>(std::clamp<uint64_t>(left, kMin, UINT32_MAX / 2));
}

void DescriptorShares::UseLimitOfProcess() {
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) max_ = MaxOf(files.rlim_cur);
}

const char* DescriptorShares::Take(PodKey pod) {
  const std::lock_guard lock(mutex_);
  const uint32_t free = max_ > held_ ? max_ - held_ : 0;
  if (free == 0) return "connections";
  uint32_t& of_pod = of_pods_[pod];
  if (of_pod >= 2 * free) return "connections-of-pod";
  of_pod++;
  held_++;
  return nullptr;
}

void DescriptorShares::Release(PodKey pod, uint32_t count) {
  const std::lock_guard lock(mutex_);
  held_ -= count;
  const auto found = of_pods_.find(pod);
  if ((found->second -= count) == 0) of_pods_.erase(found);
}

uint32_t DescriptorShares::held() {
  const std::lock_guard lock(mutex_);
  return held_;
}

}  // namespace weft
