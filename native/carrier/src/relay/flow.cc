// SPDX-License-Identifier: Apache-2.0
#include "relay/flow.h"

#include <cerrno>

#include "base/clock.h"
#include "net/dial_error.h"
#include "net/sock_map.h"
#include "relay/client_address.h"

namespace weft {

namespace {

constexpr uint32_t kDenied = 401;
constexpr uint32_t kUnavailable = 503;

}  // namespace

Flow::Flow(Worker* worker, const Pod* pod, FlowOwner* owner, Kind kind)
    : worker_(worker), pod_(pod), owner_(owner), descriptors_(pod->cookie), kind_(kind) {
  id_ = worker_->decider.NewFlowId();
  started_ms_ = BootMs();
  worker_->flows++;
}

std::unique_ptr<Flow> Flow::Captured(Worker* worker, const Pod* pod, FlowOwner* owner, Fd socket, const Address& remote) {
  std::unique_ptr<Flow> flow(new Flow(worker, pod, owner, Kind::kCaptured));
  flow->remote_ = remote;
  flow->socket_ = std::make_unique<AppSocket>(&worker->loop, std::move(socket));
  return flow;
}

std::unique_ptr<Flow> Flow::Plain(Worker* worker, const Pod* pod, FlowOwner* owner, Fd socket, const Address& remote,
                                  const Address& local) {
  std::unique_ptr<Flow> flow(new Flow(worker, pod, owner, Kind::kPlain));
  flow->remote_ = flow->client_ = remote;
  flow->local_ = local;
  flow->socket_ = std::make_unique<AppSocket>(&worker->loop, std::move(socket));
  return flow;
}

std::unique_ptr<Flow> Flow::Tunnel(Worker* worker, const Pod* pod, FlowOwner* owner, std::unique_ptr<IncomingTunnel> tunnel) {
  std::unique_ptr<Flow> flow(new Flow(worker, pod, owner, Kind::kTunnel));
  flow->tunnel_ = std::move(tunnel);
  return flow;
}

Flow::~Flow() {
  // One that has ended has no timer, and its worker may be gone.
  if (state_ == State::kEnded) return;
  worker_->loop.Cancel(&dial_timer_);
  worker_->flows--;
}

bool Flow::HoldDescriptors(uint32_t count) {
  const char* const reached = descriptors_.Hold(count);
  if (reached) worker_->decider.LimitReached(reached);
  return !reached;
}

void Flow::Begin() {
  // Of the accepted socket, or of the application's.
  if (!HoldDescriptors(1)) {
    Refuse(kUnavailable);
    return Finish();
  }
  if (kind_ == Kind::kTunnel) {
    tunnel_->OnGone([this] { OnClientGone(); });
    state_ = State::kAsking;
    const TunnelQuestion question = tunnel_->TakeQuestion();
    client_ = ClientOfTunnel(question.forwarded, question.remote);
    return worker_->decider.Ask(this, question);
  }
  if (!socket_->Start(&client_user_)) {
    worker_->decider.LimitReached("descriptors");
    socket_->Reset();
    return Finish();
  }
  state_ = State::kAsking;
  if (kind_ == Kind::kPlain) return worker_->decider.Ask(this, PlainQuestion{remote_, local_});
  // The kernel moved the handoff record to the accepted socket before accept() returned.
  const std::optional<Dialed> dialed = worker_->sock_map.DialedBy(socket_->fd());
  CapturedQuestion question{remote_, {}, {}};
  if (dialed) {
    question.dialed = dialed->dialed;
    question.picked = dialed->picked;
  }
  client_ = OwnClient(*pod_, remote_, question.dialed).value_or(Address{});
  worker_->decider.Ask(this, question);
}

uint64_t Flow::bytes_sent() const { return relay_ ? relay_->bytes_sent() : 0; }
uint64_t Flow::bytes_received() const { return relay_ ? relay_->bytes_received() : 0; }

void Flow::OnDecision(const Decision& decision) {
  if (state_ != State::kAsking) return;
  if (!decision.rule) {
    Refuse(decision.status);
    return Cancel();
  }
  rule_ = decision.rule;
  target_ = decision.target;
  state_ = State::kConnecting;
  // The agent may have learned of an address since. A record without a client would be malformed.
  if (client_.port == 0) {
    Refuse(kUnavailable);
    return Close(Ended::kRefused, "the pod has no address of the family that was dialed");
  }
  if (target_ < rule_->targets.size()) {
    const Target& target = rule_->targets[target_];
    if (const auto* direct = std::get_if<DirectTarget>(&target)) return ConnectDirect(*direct);
    if (kind_ != Kind::kTunnel) return ConnectTunnel(std::get<TunnelTarget>(target));
  }
  Refuse(kUnavailable);
  Close(Ended::kRefused, "the rule has no target for this connection");
}

void Flow::ConnectDirect(const DirectTarget& target) {
  if (!HoldDescriptors(kind_ == Kind::kTunnel ? 1 : 2)) return OnSocket(Fd(), EMFILE);
  dial_timer_ = worker_->loop.After(worker_->limits.dial_timeout_ms_max, [this] {
    dial_timer_ = 0;
    DialFailed(ETIMEDOUT);
  });
  auto request = worker_->sockets.Take(target.from, target.to.ip.IsV4(), [this](Fd socket, int error) { OnSocket(std::move(socket), error); });
  // Null if it called back; then another target may be waiting for a socket by now.
  if (request) socket_request_ = std::move(request);
}

void Flow::OnSocket(Fd socket, int error) {
  socket_request_.reset();
  if (error == ESTALE) return Failed({Stage::kPodGone, error, 0, "the destination left this node a moment ago"});
  if (error != 0) {
    if (error == EMFILE || error == ENFILE) worker_->decider.LimitReached("descriptors");
    return Failed({Stage::kNone, error, 0, "cannot create a socket in the pod's network namespace: " + ErrorName(error)});
  }
  const DirectTarget& target = direct();
  const Address* const shown = !target.show_client ? nullptr : target.client.port != 0 ? &target.client : &client_;
  if (!worker_->sock_map.MarkOwn(socket.get(), shown))
    return Failed({Stage::kNone, errno, 0, "cannot mark a socket as the mesh's own: " + ErrorName(errno)});
  app_ = std::make_unique<AppSocket>(&worker_->loop, std::move(socket));
  if (const int failure = app_->Connect(target.to)) return DialFailed(failure);
  if (!app_->Start(&target_user_)) {
    worker_->decider.LimitReached("descriptors");
    Failed({Stage::kNone, errno, 0, "cannot watch a socket: " + ErrorName(errno)});
  }
}

void Flow::OnTargetConnected(int error) {
  if (error != 0) return DialFailed(error);
  Relay(nullptr);
}

void Flow::ConnectTunnel(const TunnelTarget& target) {
  // The pool has time limits of its own for each step.
  tunnel_request_ = worker_->pool.Open(*pod_, target, client_, [this](std::unique_ptr<TunnelStream> stream, const Failure& failure) {
    if (!stream) return Failed(failure);
    Relay(std::move(stream));
  });
}

void Flow::DialFailed(int error) {
  Failed({Stage::kDial, error, 0, DialError(direct().to, error, worker_->limits.dial_timeout_ms_max)});
}

// No byte of the client was consumed, so another target can serve it.
void Flow::Failed(Failure failure) {
  StopConnecting();
  state_ = State::kAsking;
  worker_->decider.Failed(this, failure);
}

void Flow::StopConnecting() {
  worker_->loop.Cancel(&dial_timer_);
  socket_request_.reset();
  tunnel_request_.reset();
  app_.reset();
}

void Flow::Relay(std::unique_ptr<TunnelStream> stream) {
  worker_->loop.Cancel(&dial_timer_);
  // The accepted side of a captured or plain connection is the client.
  if (rule_->observe) {
    HttpWatchUser* const user = this;
    watch_ = std::make_unique<HttpWatch>(user, pod_->cookie, kind_ == Kind::kTunnel ? HttpWatch::Client::kPeer : HttpWatch::Client::kPod);
  }
  if (kind_ == Kind::kTunnel) {
    stream = tunnel_->Accept();
    if (!stream) return OnClientGone();
    tunnel_.reset();
    relay_ = RelayTunnel(worker_, std::move(app_), std::move(stream), this, watch_.get());
  } else if (stream) {
    relay_ = RelayTunnel(worker_, std::move(socket_), std::move(stream), this, watch_.get());
  } else {
    relay_ = RelaySockets(worker_, pod_->cookie, std::move(socket_), std::move(app_), this, watch_.get());
  }
  state_ = State::kRelaying;
  worker_->decider.Opened(this);
}

void Flow::OnRelayEnded(Ended ended) {
  if (watch_) watch_->End();
  Close(ended, cut_reason_);
}

void Flow::OnLingered() { worker_->decider.LimitReached("linger"); }

void Flow::OnUnread() { cut_reason_ = "its reader is slow, and the memory for unread bytes is used up"; }

// What the client sent before its reset is still delivered, as it would be without a mesh.
void Flow::OnClientReset() {
  if (!socket_->HasUnread()) OnClientGone();
}

void Flow::OnClientGone() {
  if (state_ != State::kAsking && state_ != State::kConnecting) return;
  StopConnecting();
  if (socket_) socket_->Reset();
  if (!rule_) return Cancel();
  Close(kind_ == Kind::kTunnel ? Ended::kPeerReset : Ended::kPodReset, "the client left");
}

void Flow::Refuse(uint32_t status) {
  StopConnecting();
  if (tunnel_)
    tunnel_->Refuse(status != 0 ? status : kUnavailable);
  else
    socket_->Reset();
}

void Flow::Cut(const std::string& reason) {
  if (state_ == State::kRelaying) {
    cut_reason_ = reason;
    return relay_->Cut();
  }
  if (state_ != State::kAsking && state_ != State::kConnecting) return;
  Refuse(reason == kCarrierEnds ? kUnavailable : kDenied);
  if (!rule_) return Cancel();
  Close(Ended::kCut, reason);
}

void Flow::Cancel() {
  state_ = State::kEnded;
  worker_->decider.Canceled(this);
  Finish();
}

void Flow::Close(Ended ended, const std::string& reason) {
  state_ = State::kEnded;
  worker_->decider.Closed(this, ended, reason);
  Finish();
}

void Flow::Finish() {
  state_ = State::kEnded;
  worker_->loop.Cancel(&dial_timer_);
  worker_->flows--;
  owner_->OnFlowEnded(this);
}

}  // namespace weft
