// SPDX-License-Identifier: Apache-2.0
#include "http2/memory.h"

#include <unordered_map>

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
  while (buffered_ > buffered_bytes_max) {
    Http2Connection* const most = Most();
    if (!most) return;
    Reached("tunnel-buffers");
    most->Shed();
  }
}

Http2Connection* StreamMemory::Most() const {
  std::unordered_map<PodKey, uint64_t> of_pods;
  for (const Http2Connection* connection : connections_) of_pods[connection->pod()] += connection->buffered();
  const auto more = [&](const Http2Connection* one, const Http2Connection* other) {
    const uint64_t of_one = of_pods[one->pod()], of_other = of_pods[other->pod()];
    return of_one != of_other ? of_one > of_other : one->buffered() > other->buffered();
  };
  Http2Connection* most = nullptr;
  for (Http2Connection* connection : connections_)
    if (connection->buffered() > 0 && (!most || more(connection, most))) most = connection;
  return most;
}

}  // namespace weft
