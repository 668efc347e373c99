// SPDX-License-Identifier: Apache-2.0
// Limits of frames that cost work and carry nothing (src/http2/floods.ts). A connection that exceeds one ends with ENHANCE_YOUR_CALM.
// Frames that carry something earn the peer further ones, since busy peers send those in proportion.
#pragma once

#include <algorithm>
#include <cstdint>

namespace weft {

// A token bucket: `burst` frames at once, `per_s` frames a second.
class Bucket {
 public:
  Bucket(double burst, double per_s) : burst_(burst), per_s_(per_s) {}
  // False: the limit is exceeded.
  bool Take(uint64_t now_ms) {
    const uint64_t passed_ms = now_ms > since_ms_ ? now_ms - since_ms_ : 0;
    used_ = std::max(0.0, used_ - static_cast<double>(passed_ms) / 1000 * per_s_) + 1;
    since_ms_ = now_ms;
    return used_ <= burst_;
  }
  void Earn(uint64_t frames) { used_ = std::max(0.0, used_ - static_cast<double>(frames)); }

 private:
  double burst_;
  double per_s_;
  double used_ = 0;
  uint64_t since_ms_ = 0;
};

class Floods {
 public:
  static constexpr uint32_t kBlockBytesMax = 128 << 10;
  static constexpr uint32_t kBlockFramesMax = 24;
  static constexpr uint32_t kSettingsEntriesMax = 32;
  // nghttp2 keeps the text of one until it is complete.
  static constexpr uint32_t kGoAwayBytesMax = 16 << 10;
  // Frames other than DATA that wait for a peer that does not read.
  static constexpr uint32_t kQueuedFramesMax = 1000;

  // HEADERS that arrived, and DATA with bytes.
  uint64_t work = 0;
  // DATA of this side.
  uint64_t data_frames = 0;
  uint64_t data_bytes = 0;

  // Streams that the peer opens and resets, or makes us reset by invalid frames.
  bool Reset(uint64_t now_ms) { return resets_.Take(now_ms); }
  bool Settings(uint64_t now_ms) { return settings_.Take(now_ms); }
  bool Ping(uint64_t now_ms) { return Earned(&pings_, &pings_earned_, work + data_frames, now_ms); }
  // PRIORITY, frames of unknown types, and frames for streams that have closed.
  bool Useless(uint64_t now_ms) { return Earned(&useless_, &useless_earned_, work, now_ms); }
  bool EmptyData(uint64_t now_ms) { return Earned(&empty_, &empty_earned_, work, now_ms); }
  // A small peer sends one for each KiB that its application reads, whatever the size of frames.
  bool WindowUpdate(uint64_t now_ms) {
    return Earned(&windows_, &windows_earned_, data_frames * 4 + data_bytes / 1024, now_ms);
  }

 private:
  static bool Earned(Bucket* bucket, uint64_t* before, uint64_t earned, uint64_t now_ms) {
    bucket->Earn(earned - *before);
    *before = earned;
    return bucket->Take(now_ms);
  }
  Bucket resets_{900, 33};
  Bucket settings_{100, 10};
  Bucket pings_{1000, 100};
  Bucket useless_{1000, 100};
  Bucket empty_{1000, 100};
  Bucket windows_{2000, 200};
  uint64_t pings_earned_ = 0;
  uint64_t useless_earned_ = 0;
  uint64_t empty_earned_ = 0;
  uint64_t windows_earned_ = 0;
};

}  // namespace weft
