// SPDX-License-Identifier: Apache-2.0
// Unconnected sockets in pods' network namespaces. The broker process creates them in batches, one setns pair per batch; each worker
// keeps a small stock per pod, so that a connection costs no message to the broker.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/fd.h"
#include "rules/rule.h"

namespace weft {

class Loop;
class BrokerClient;

class PodSockets {
 public:
  // Waits for one socket. Canceled by its destruction.
  class Request {
   public:
    virtual ~Request() = default;
  };
  using OnSocket = std::function<void(Fd socket, int error)>;

  // A stock that was not used for one to two times `idle_ms` is closed.
  PodSockets(Loop* loop, BrokerClient* broker, uint64_t idle_ms = 30'000);
  ~PodSockets();

  // The network namespaces from which this worker may connect. Any worker may connect from any pod of the node.
  void AddPod(PodKey pod, Fd netns);
  // The stock is closed. Requests fail with ESTALE.
  void RemovePod(PodKey pod);

  // A non-blocking TCP socket with TCP_NODELAY, SO_KEEPALIVE (180 s) and a reset on close (SO_LINGER 0), unconnected. Calls back within
  // this call if the stock has one. Errors: ESTALE (no such pod), EMFILE and others of socket().
  std::unique_ptr<Request> Take(PodKey pod, bool v4, OnSocket on_socket);

 private:
  struct Stock;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weft
