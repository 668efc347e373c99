// SPDX-License-Identifier: Apache-2.0
// The carrier's clocks.
#pragma once

#include <time.h>

#include <cstdint>

namespace weft {

inline uint64_t ClockUs(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

// For durations. It goes on while the machine sleeps.
inline uint64_t BootMs() { return ClockUs(CLOCK_BOOTTIME) / 1000; }
// For short times, such as round trips. It stands still while the machine sleeps.
inline uint64_t MonotonicUs() { return ClockUs(CLOCK_MONOTONIC); }
// For dates, in certificates and the log. It may jump.
inline uint64_t WallMs() { return ClockUs(CLOCK_REALTIME) / 1000; }

}  // namespace weft
