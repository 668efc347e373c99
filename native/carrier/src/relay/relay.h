// SPDX-License-Identifier: Apache-2.0
// The relay of one flow between two connected ends. The semantics are those of src/hbone/relay.ts: half closes and resets pass in both
// directions, bytes received before a reset are delivered, an early response reaches the client even if the upload fails.
#pragma once

#include <cstdint>
#include <memory>

#include "net/app_socket.h"
#include "rules/rule.h"

namespace weft {

struct Worker;
class HttpWatch;
class TunnelStream;

class RelayOwner {
 public:
  virtual ~RelayOwner() = default;
  // Both ends are closed. Called once, also within Cut. The relay may be disposed of in this call (Loop::Dispose).
  virtual void OnRelayEnded(Ended ended) = 0;
  // A side was reset, and the other did not take the first side's bytes within linger_ms_max.
  virtual void OnLingered() = 0;
  // What the peer sent cannot wait for its slow reader. OnRelayEnded(kCut) follows.
  virtual void OnUnread() {}
};

class Relay : public Disposable {
 public:
  // From the pod's side (captured client, or the application of an inbound connection) to the peer.
  virtual uint64_t bytes_sent() const = 0;
  virtual uint64_t bytes_received() const = 0;
  // Resets both ends. OnRelayEnded(kCut) within the call.
  virtual void Cut() = 0;
};

// Between two sockets (relay/socket_pair.cc). `pod`: the socket whose reads count as sent; what waits between the sockets is of `pod_key`.
// `watch` sees the bytes; null if nobody watches. It outlives the relay.
std::unique_ptr<Relay> RelaySockets(Worker* worker, PodKey pod_key, std::unique_ptr<AppSocket> pod, std::unique_ptr<AppSocket> peer,
                                    RelayOwner* owner, HttpWatch* watch = nullptr);
// Between a socket and a stream of a tunnel, of either side (relay/socket_stream.cc).
std::unique_ptr<Relay> RelayTunnel(Worker* worker, std::unique_ptr<AppSocket> pod, std::unique_ptr<TunnelStream> stream, RelayOwner* owner,
                                   HttpWatch* watch = nullptr);

}  // namespace weft
