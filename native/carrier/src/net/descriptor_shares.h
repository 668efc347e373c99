// SPDX-License-Identifier: Apache-2.0
// Descriptors of connections, of all threads: what RLIMIT_NOFILE leaves beside the process's own. Each socket of a pod counts as one.
#pragma once

#include <cstdint>
#include <mutex>

#include "net/pod_shares.h"

namespace weft {

class DescriptorShares {
 public:
  static DescriptorShares& OfProcess();

  // Of connections, if the process may have so many in all.
  static uint32_t MaxOf(uint64_t limit_of_process);
  // By RLIMIT_NOFILE. Before connections are taken.
  void UseLimitOfProcess();
  void set_max(uint32_t max) { shares_.set_max(max); }

  // One for the pod. Null, or the limit that is reached, by its name in docs/limits.md.
  const char* Take(PodKey pod);
  void Release(PodKey pod, uint32_t count);
  uint64_t held();

 private:
  std::mutex mutex_;
  // One pod alone may hold two thirds of all.
  PodShares shares_{UINT32_MAX / 2, 3};
};

// The descriptors of one connection.
class HeldDescriptors {
 public:
  explicit HeldDescriptors(PodKey pod) : pod_(pod) {}
  ~HeldDescriptors() {
    if (count_ > 0) DescriptorShares::OfProcess().Release(pod_, count_);
  }
  HeldDescriptors(const HeldDescriptors&) = delete;
  HeldDescriptors& operator=(const HeldDescriptors&) = delete;

  // Takes what is missing to `count`. As DescriptorShares::Take.
  const char* Hold(uint32_t count) {
    while (count_ < count) {
      if (const char* const reached = DescriptorShares::OfProcess().Take(pod_)) return reached;
      count_++;
    }
    return nullptr;
  }

 private:
  const PodKey pod_;
  uint32_t count_ = 0;
};

}  // namespace weft
