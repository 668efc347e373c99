// SPDX-License-Identifier: Apache-2.0
// One flow, from its first moment to its end: it asks for a decision, connects the target, relays, and reports its end. The agent decides
// what follows a target that cannot be reached; no byte of the client is consumed before the target is connected.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/loop.h"
#include "http2/tunnel_pool.h"
#include "http2/tunnel_server.h"
#include "net/app_socket.h"
#include "net/pod_sockets.h"
#include "relay/relay.h"
#include "rules/decider.h"
#include "worker.h"

namespace weft {

class Flow;

class FlowOwner {
 public:
  virtual ~FlowOwner() = default;
  // The flow has ended and was reported. Called once, maybe within Begin; dispose of the flow (Loop::Dispose).
  virtual void OnFlowEnded(Flow* flow) = 0;
};

class Flow : public Disposable, private Decided, private RelayOwner {
 public:
  // A connection that connect() redirected to the outbound listener. `pod` and `owner` outlive the flow.
  static std::unique_ptr<Flow> Captured(Worker* worker, const Pod* pod, FlowOwner* owner, Fd socket, const Address& remote);
  // A plaintext connection of the inbound listener.
  static std::unique_ptr<Flow> Plain(Worker* worker, const Pod* pod, FlowOwner* owner, Fd socket, const Address& remote,
                                     const Address& local);
  static std::unique_ptr<Flow> Tunnel(Worker* worker, const Pod* pod, FlowOwner* owner, std::unique_ptr<IncomingTunnel> tunnel);
  ~Flow() override;

  void Begin();
  // Ends the flow without waiting for anything, because its pod's listeners are destroyed.
  void End() { Cut("the carrier ends"); }

 private:
  enum class Kind : uint8_t { kCaptured, kPlain, kTunnel };
  enum class State : uint8_t { kBegin, kAsking, kConnecting, kRelaying, kEnded };
  // The accepted socket while the flow is not relayed, and the socket that connects.
  struct ClientUser;
  struct TargetUser;

  Flow(Worker* worker, const Pod* pod, FlowOwner* owner, Kind kind);

  // Decided
  FlowId id() const override { return id_; }
  PodKey pod() const override { return pod_->cookie; }
  Address client() const override { return client_; }
  uint64_t started_ms() const override { return started_ms_; }
  uint64_t bytes_sent() const override;
  uint64_t bytes_received() const override;
  void OnDecision(const Decision& decision) override;
  void Cut(const std::string& reason) override;

  // RelayOwner
  void OnRelayEnded(Ended ended) override;
  void OnLingered() override;

  void Ask();
  void ConnectDirect(const DirectTarget& target);
  void ConnectTunnel(const TunnelTarget& target);
  void OnSocket(const DirectTarget& target, Fd socket, int error);
  void OnTargetConnected(int error);
  void OnDialTimeout();
  void DialFailed(Stage stage, int error, std::string why);
  void Failed(const Failure& failure);
  void StopConnecting();
  void Relay();
  void OnClientGone();
  // Ends both sides: the client's with a reset, or the status of a tunnel that was not accepted yet.
  void Refuse(uint32_t status);
  void Report(Ended ended, const std::string& reason);

  Worker* worker_;
  const Pod* pod_;
  FlowOwner* owner_;
  FlowId id_ = 0;
  uint64_t started_ms_ = 0;
  Address client_;
  Address local_;
  RulePtr rule_;
  uint32_t target_ = 0;
  Kind kind_;
  State state_ = State::kBegin;
  // Null once the relay owns them.
  std::unique_ptr<AppSocket> socket_;
  std::unique_ptr<AppSocket> app_;
  std::unique_ptr<IncomingTunnel> tunnel_;
  std::unique_ptr<ClientUser> client_user_;
  std::unique_ptr<TargetUser> target_user_;
  std::unique_ptr<PodSockets::Request> socket_request_;
  std::unique_ptr<TunnelPool::Request> tunnel_request_;
  Loop::TimerId dial_timer_ = 0;
  std::unique_ptr<weft::Relay> relay_;
  std::string cut_reason_;
};

}  // namespace weft
