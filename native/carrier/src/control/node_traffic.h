// SPDX-License-Identifier: Apache-2.0
// The pods of one worker, with real listeners and tunnels.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "base/loop.h"
#include "control/traffic.h"
#include "http2/tunnel_pool.h"
#include "http2/tunnel_server.h"
#include "net/broker_client.h"
#include "net/pod_sockets.h"
#include "net/sock_map.h"
#include "relay/pod_listeners.h"
#include "tls/credentials.h"

namespace weft {

class NodeTraffic : public Traffic {
 public:
  // `on_death`: no more sockets can be made.
  NodeTraffic(Loop& loop, Decider& decider, SockMap& sock_map, Credentials& credentials, const Limits& limits, Fd broker,
              std::function<void()> on_death);
  ~NodeTraffic() override;

  void AddNetns(PodKey pod, Fd netns) override;
  void SetPod(const Pod& pod) override;
  bool Listen(PodKey pod, carrier::v1::Listener kind, Fd listener) override;
  void ClosePod(PodKey pod, uint64_t grace_ms) override;
  void Forget(PodKey pod) override;
  void Update(const std::string& identity) override;
  void CloseListeners() override;
  void Drain() override;

 private:
  // A pod that returned has flows of its former listeners; all of them refer to the pod.
  struct Entry {
    Pod pod;
    std::unique_ptr<PodListeners> listeners;
    std::vector<std::unique_ptr<PodListeners>> closing;
  };
  // Deletes what is idle.
  void Sweep();

  Loop& loop_;
  BrokerClient broker_;
  PodSockets sockets_;
  TunnelPool pool_;
  Worker worker_;
  const std::shared_ptr<TunnelServerLimits> server_limits_;
  std::unordered_map<PodKey, std::unique_ptr<Entry>> pods_;
  Loop::TimerId sweep_ = 0;
};

}  // namespace weft
