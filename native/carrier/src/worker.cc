// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <sys/resource.h>

#include <algorithm>

namespace weft {

namespace {
// Of the process itself: listeners, network namespaces that are handed over, sockets in stock.
constexpr rlim_t kOwnDescriptors = 512;
constexpr rlim_t kFlowsMin = 16;
}  // namespace

Limits LimitsOfProcess(uint32_t workers) {
  Limits limits;
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) return limits;
  const rlim_t left = files.rlim_cur > kOwnDescriptors ? files.rlim_cur - kOwnDescriptors : 0;
  limits.flows_max = static_cast<uint32_t>(std::clamp<rlim_t>(left / 2 / workers, kFlowsMin, limits.flows_max));
  limits.flows_of_pod_max = limits.flows_max / 2;
  return limits;
}

}  // namespace weft
