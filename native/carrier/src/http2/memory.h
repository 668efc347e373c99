// SPDX-License-Identifier: Apache-2.0
// What the streams of one thread may hold: received bytes that wait for slow readers, and windows beyond the first size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>

#include "rules/rule.h"

namespace weft {

class Http2Connection;

class StreamMemory {
 public:
  static StreamMemory& OfThread();

  uint64_t buffered_bytes_max = 256ull << 20;

  void Join(Http2Connection* connection) { connections_.insert(connection); }
  void Leave(Http2Connection* connection) { connections_.erase(connection); }

  // Received bytes that were not delivered yet. Beyond the limit, the stream that holds most of the connection that holds most is reset.
  void AddBuffered(size_t bytes);
  void RemoveBuffered(size_t bytes) { buffered_ -= bytes; }
  uint64_t buffered() const { return buffered_; }

  // A pod may take more while it holds less than what is free.
  bool TakeWindow(PodKey pod, uint64_t bytes);
  void ReleaseWindow(PodKey pod, uint64_t bytes);

 private:
  std::unordered_set<Http2Connection*> connections_;
  std::unordered_map<PodKey, uint64_t> windows_of_pods_;
  uint64_t windows_ = 0;
  uint64_t buffered_ = 0;
};

}  // namespace weft
