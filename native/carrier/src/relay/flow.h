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
#include "net/descriptor_shares.h"
#include "net/pod_sockets.h"
#include "observe/http_watch.h"
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

class Flow : public Disposable, private Decided, private RelayOwner, private HttpWatchUser {
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
  void End() { Cut(kCarrierEnds); }

 private:
  enum class Kind : uint8_t { kCaptured, kPlain, kTunnel };
  enum class State : uint8_t { kBegin, kAsking, kConnecting, kRelaying, kEnded };
  // Of the accepted socket until it is relayed.
  struct ClientUser : AppSocketUser {
    explicit ClientUser(Flow* flow) : flow(flow) {}
    void OnReadable() override {}
    void OnWritten(size_t) override {}
    void OnReset(int) override { flow->OnClientReset(); }
    Flow* flow;
  };
  // Of the socket that connects.
  struct TargetUser : AppSocketUser {
    explicit TargetUser(Flow* flow) : flow(flow) {}
    void OnReadable() override {}
    void OnWritten(size_t) override {}
    void OnReset(int) override {}
    void OnConnected(int error) override { flow->OnTargetConnected(error); }
    Flow* flow;
  };

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
  void OnUnread() override;

  // HttpWatchUser
  void OnHttp(const HttpSeen& seen) override { worker_->decider.Observed(this, seen); }
  void OnHttpLimit() override { worker_->decider.LimitReached("observed-connections"); }

  // Of so many sockets in all. False: there are not enough for this pod; the limit is counted.
  bool HoldDescriptors(uint32_t count);
  void ConnectDirect(const DirectTarget& target);
  void ConnectTunnel(const TunnelTarget& target);
  void OnSocket(Fd socket, int error);
  void OnTargetConnected(int error);
  void DialFailed(int error);
  void Failed(Failure failure);
  void StopConnecting();
  void Relay(std::unique_ptr<TunnelStream> stream);
  void OnClientReset();
  void OnClientGone();
  // Ends the client's side: a reset, or the response to a tunnel's request.
  void Refuse(uint32_t status);
  void Cancel();
  void Close(Ended ended, const std::string& reason);
  void Finish();
  const DirectTarget& direct() const { return std::get<DirectTarget>(rule_->targets[target_]); }

  Worker* worker_;
  const Pod* pod_;
  FlowOwner* owner_;
  HeldDescriptors descriptors_;
  const Kind kind_;
  State state_ = State::kBegin;
  FlowId id_ = 0;
  uint64_t started_ms_ = 0;
  // As the log and the destination see it.
  Address client_;
  // Of a captured or plain connection.
  Address remote_, local_;
  RulePtr rule_;
  uint32_t target_ = 0;
  Loop::TimerId dial_timer_ = 0;
  ClientUser client_user_{this};
  TargetUser target_user_{this};
  // Null once the relay owns them.
  std::unique_ptr<AppSocket> socket_;
  std::unique_ptr<AppSocket> app_;
  std::unique_ptr<IncomingTunnel> tunnel_;
  std::unique_ptr<PodSockets::Request> socket_request_;
  std::unique_ptr<TunnelPool::Request> tunnel_request_;
  // Null if nobody watches the requests.
  std::unique_ptr<HttpWatch> watch_;
  std::unique_ptr<weft::Relay> relay_;
  std::string cut_reason_;
};

}  // namespace weft
