// SPDX-License-Identifier: Apache-2.0
// Until when rules admit connections: milliseconds of CLOCK_BOOTTIME, which goes on while the machine sleeps. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace weft {

class Lease {
 public:
  // A mistaken lease must end some time.
  static constexpr uint64_t kMsMax = 600'000;

  // BootMs() at which a lease of this duration ends that begins now.
  static uint64_t UntilMs(uint64_t for_ms) { return BootMs() + (for_ms < kMsMax ? for_ms : kMsMax); }
  void Renew(uint64_t for_ms) { RenewUntil(UntilMs(for_ms)); }
  void RenewUntil(uint64_t until_ms) { until_ms_.store(until_ms, std::memory_order_release); }
  uint64_t left_ms() const {
    const uint64_t now = BootMs(), until = until_ms_.load(std::memory_order_acquire);
    return until > now ? until - now : 0;
  }
  bool IsValid() const { return BootMs() < until_ms_.load(std::memory_order_acquire); }

 private:
  std::atomic<uint64_t> until_ms_{0};
};

}  // namespace weft
