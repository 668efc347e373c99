// SPDX-License-Identifier: Apache-2.0
// The two clocks of the carrier, in milliseconds.
#pragma once

#include <time.h>

#include <cstdint>

namespace weft {

inline uint64_t ClockMs(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

// For durations. It goes on while the machine sleeps.
inline uint64_t BootMs() { return ClockMs(CLOCK_BOOTTIME); }
// For dates, in certificates and records. It may jump.
inline uint64_t WallMs() { return ClockMs(CLOCK_REALTIME); }

}  // namespace weft
