// SPDX-License-Identifier: Apache-2.0
// The memory by which one HTTP/2 connection is followed: the state of its heads and the requests that wait. All connections of a thread share a
// budget, of which a pod has its share.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>

#include "net/pod_shares.h"

namespace weft {

class WatchMemory {
 public:
  static constexpr uint64_t kBytesOfThread = 32 << 20;

  explicit WatchMemory(PodKey pod);
  ~WatchMemory();
  WatchMemory(const WatchMemory&) = delete;
  WatchMemory& operator=(const WatchMemory&) = delete;

  // False: there is no room.
  bool Take(size_t bytes);
  void Release(size_t bytes);
  // What it allocates is of this budget.
  nghttp2_mem* allocator() { return &allocator_; }
  // Something found no room.
  bool is_used_up() const { return is_used_up_; }

 private:
  const PodKey pod_;
  nghttp2_mem allocator_;
  size_t used_ = 0;
  // Of the budget: in steps, so that an allocation costs an addition.
  size_t taken_ = 0;
  bool is_used_up_ = false;
};

}  // namespace weft
