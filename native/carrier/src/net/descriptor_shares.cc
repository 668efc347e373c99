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
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) set_max(MaxOf(files.rlim_cur));
}

const char* DescriptorShares::Take(PodKey pod) {
  const std::lock_guard lock(mutex_);
  if (shares_.Take(pod, 1)) return nullptr;
  return shares_.is_used_up() ? "connections" : "connections-of-pod";
}

void DescriptorShares::Release(PodKey pod, uint32_t count) {
  const std::lock_guard lock(mutex_);
  shares_.Release(pod, count);
}

uint64_t DescriptorShares::held() {
  const std::lock_guard lock(mutex_);
  return shares_.held();
}

}  // namespace weft
