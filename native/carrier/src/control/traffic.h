// SPDX-License-Identifier: Apache-2.0
// The pods of one worker with their listeners, sockets and tunnels, as the control thread's messages reach them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/fd.h"
#include "carrier.pb.h"
#include "worker.h"

namespace weft {

class Traffic {
 public:
  virtual ~Traffic() = default;
  // Any worker may connect from any pod of the node.
  virtual void AddNetns(PodKey pod, Fd netns) = 0;
  // A pod of this worker, new or changed.
  virtual void SetPod(const Pod& pod) = 0;
  // Replaces the former listener of this kind.
  virtual bool Listen(PodKey pod, carrier::v1::Listener kind, Fd listener) = 0;
  virtual void ClosePod(PodKey pod, uint64_t grace_ms) = 0;
  // After the grace period, on every worker: no more connections from the pod.
  virtual void Forget(PodKey pod) = 0;
  // The identity has a new certificate.
  virtual void Update(const std::string& identity) = 0;
  // All listeners close. Flows and tunnel connections go on.
  virtual void CloseListeners() = 0;
  virtual void Drain() = 0;
};

using MakeTraffic = std::function<std::unique_ptr<Traffic>(Loop& loop, Decider& decider)>;

}  // namespace weft
