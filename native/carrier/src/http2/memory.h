// SPDX-License-Identifier: Apache-2.0
// Bytes that the relays of one thread may hold: received bytes that wait for slow readers, and windows beyond the first size. Each kind has
// a budget of its own, of which a pod has a share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <unordered_set>

#include "net/pod_shares.h"

namespace weft {

class Http2Connection;

class StreamMemory {
 public:
  static StreamMemory& OfThread();

  uint64_t buffered_bytes_max = 256ull << 20;
  // Windows beyond the first size.
  PodShares windows{128ull << 20};
  // Bytes of closed streams that wait for slow readers. Nothing frees them before their time, so they are apart from those of open streams.
  PodShares lingering{64ull << 20};
  // Bytes between two sockets.
  PodShares pairs{64ull << 20};
  // Counts a reached limit, by its name in docs/limits.md.
  std::function<void(const char* name)> on_limit;

  void Join(Http2Connection* connection) { connections_.insert(connection); }
  void Leave(Http2Connection* connection) { connections_.erase(connection); }

  // Received bytes of open streams that were not delivered yet. Beyond the limit streams are reset: the one that holds most, of the
  // connection that holds most, of the pod that holds most.
  void AddBuffered(size_t bytes);
  void RemoveBuffered(size_t bytes) { buffered_ -= bytes; }
  uint64_t buffered() const { return buffered_; }

  void Reached(const char* name) const {
    if (on_limit) on_limit(name);
  }

 private:
  Http2Connection* Most() const;

  std::unordered_set<Http2Connection*> connections_;
  uint64_t buffered_ = 0;
};

}  // namespace weft
