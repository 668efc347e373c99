// SPDX-License-Identifier: Apache-2.0
// The listeners of one pod, and its flows from accept() on.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "base/loop.h"
#include "http2/tunnel_server.h"
#include "relay/flow.h"
#include "worker.h"

namespace weft {

// Values of carrier.proto.
enum class ListenerKind : uint8_t { kOutbound = 1, kInbound = 2, kHbone = 3 };

class PodListeners : private FlowOwner {
 public:
  // `pod` outlives this object, which outlives its flows: dispose of it once it is idle.
  PodListeners(Worker* worker, const Pod* pod, TunnelServerLimits* limits);
  // Resets the flows that are left.
  ~PodListeners() override;

  // Takes over a listening socket, in the place of a former one of this kind, which accepts for a while longer: the kernel's programs of the
  // former build look for it until those of the new build are attached. False: errno is set, and it is closed.
  bool Listen(ListenerKind kind, Fd listener);
  bool IsListening(ListenerKind kind) const;
  // Its flows and tunnel connections go on.
  void CloseListeners();
  // The pod left: the listeners close after `grace_ms`, and its tunnel connections take no new streams from then on.
  void Close(uint64_t grace_ms);
  // The carrier is replaced: tunnel connections take no new streams. The listeners close in a moment, for connections that are on their way
  // to them: the kernel resets those whose listener closes.
  void Drain();
  // Drain() has closed the listeners after this.
  static constexpr uint64_t kOnTheirWayMs = 1'000;
  // No listener is open, and the last flow and tunnel connection have ended.
  bool idle() const;
  size_t flows() const { return flows_.size(); }

 private:
  class Listener;
  friend class Listener;
  void Accepted(ListenerKind kind, Fd socket, const Address& remote);
  void CloseFormer(size_t kept);
  void CloseNow();
  // Whether there is room for one more flow; counts the limit that is reached.
  bool MayAdd();
  void Add(std::unique_ptr<Flow> flow);
  void OnFlowEnded(Flow* flow) override;

  Worker* worker_;
  const Pod* pod_;
  TunnelServerLimits* limits_;
  std::unique_ptr<Listener> listeners_[3];
  std::vector<std::unique_ptr<Listener>> former_;
  Loop::TimerId former_timer_ = 0;
  std::unique_ptr<TunnelServer> server_;
  std::unordered_map<Flow*, std::unique_ptr<Flow>> flows_;
  Loop::TimerId grace_timer_ = 0;
};

}  // namespace weft
