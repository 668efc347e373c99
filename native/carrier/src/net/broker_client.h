// SPDX-License-Identifier: Apache-2.0
// A worker's side of its channel to the broker (net/broker.h).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "base/fd.h"
#include "base/loop.h"
#include "rules/rule.h"

namespace weft {

enum class BrokerCall : uint32_t;

class BrokerClient : public Pollable, private TurnEnd {
 public:
  // Sockets of one request, fewer if `error` is set. Nothing else refers to them any more.
  using OnSockets = std::function<void(PodKey pod, std::vector<Fd> v4, std::vector<Fd> v6, int error)>;

  // `on_death`: the broker is gone. The carrier cannot connect any more, so it must end; what started it starts it anew.
  BrokerClient(Loop* loop, Fd channel, std::function<void()> on_death);
  ~BrokerClient() override;

  void set_on_sockets(OnSockets call) { on_sockets_ = std::move(call); }
  // The broker keeps the descriptor under the pod's key, and in the place of a former one.
  void AddPod(PodKey pod, Fd netns);
  void RemovePod(PodKey pod);
  // One request of a pod at a time, at most kBrokerSocketsMax sockets: the broker serves requests in turn, so no pod waits long for another.
  void Make(PodKey pod, uint16_t v4, uint16_t v6);

  void OnReady(uint32_t events) override;

 private:
  struct Waiting;
  void OnTurnEnd() override { OnReady(0); }
  void Send(BrokerCall call, PodKey pod, uint16_t v4, uint16_t v6, Fd netns);
  void Flush();
  bool Receive();
  void Die();

  Loop* loop_;
  Fd channel_;
  std::function<void()> on_death_;
  OnSockets on_sockets_;
  std::deque<Waiting> waiting_;
  // Of the reply whose end has not arrived yet.
  std::vector<Fd> v4_, v6_;
  int pending_error_ = 0;
};

}  // namespace weft
