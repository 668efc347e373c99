// SPDX-License-Identifier: Apache-2.0
#include "http2/memory.h"

#include "http2/connection.h"
#include "http2/limits.h"

namespace weft {

TunnelLimits& CurrentTunnelLimits() {
  static TunnelLimits limits;
  return limits;
}

StreamMemory& StreamMemory::OfThread() {
  static thread_local StreamMemory memory;
  return memory;
}

void StreamMemory::AddBuffered(size_t bytes) {
  buffered_ += bytes;
  if (buffered_ <= buffered_bytes_max) return;
  Http2Connection* most = nullptr;
  for (Http2Connection* connection : connections_)
    if (!most || connection->buffered() > most->buffered()) most = connection;
  if (most) most->Shed();
}

bool StreamMemory::TakeWindow(PodKey pod, uint64_t bytes) {
  const uint64_t max = buffered_bytes_max / 2;
  const uint64_t free = max > windows_ ? max - windows_ : 0;
  uint64_t& held = windows_of_pods_[pod];
  if (bytes > free || held + bytes > free) {
    if (held == 0) windows_of_pods_.erase(pod);
    return false;
  }
  held += bytes;
  windows_ += bytes;
  return true;
}

void StreamMemory::ReleaseWindow(PodKey pod, uint64_t bytes) {
  if (bytes == 0) return;
  windows_ -= bytes;
  const auto found = windows_of_pods_.find(pod);
  if (found != windows_of_pods_.end() && (found->second -= bytes) == 0) windows_of_pods_.erase(found);
}

}  // namespace weft
