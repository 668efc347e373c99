// SPDX-License-Identifier: Apache-2.0
#include "relay/pod_listeners.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/log.h"
#include "base/reset_on_close.h"
#include "net/spare_descriptor.h"

namespace weft {

namespace {
constexpr int kBatchMax = 64;
constexpr uint64_t kPauseMs = 100;
constexpr uint64_t kLogMs = 60'000;
// The hand-over to an agent with other maps takes a few seconds.
constexpr uint64_t kFormerMs = 30'000;
constexpr size_t kFormerMax = 6;

// Errors of the connection that was to be accepted, not of the listener (accept(2)).
bool IsOfConnection(int error) {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
      return true;
    default:
      return false;
  }
}
}  // namespace

// Level-triggered: one accept() for a lone connection. While connections keep waiting, each turn takes twice as many as the one before.
class PodListeners::Listener : public Pollable, public Disposable {
 public:
  Listener(PodListeners* pod, ListenerKind kind, Fd socket) : pod_(pod), kind_(kind), socket_(std::move(socket)) {}
  ~Listener() override { Close(); }

  bool Start() {
    const int flags = fcntl(socket_.get(), F_GETFL);
    if (flags < 0 || fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK) != 0) return false;
    // Accepted sockets inherit it: if this process dies, the kernel would close them with a FIN, and the application would take a truncated
    // stream for a complete one.
    if (kind_ != ListenerKind::kHbone && !SetResetOnClose(socket_.get(), true)) return false;
    SpareDescriptor::OfThread().Keep();
    return loop().Add(socket_.get(), this, EPOLLIN);
  }

  void Close() {
    if (!socket_.valid()) return;
    loop().Cancel(&pause_timer_);
    // Another carrier may have it as well, so closing it would leave it in epoll.
    loop().Remove(socket_.get(), this);
    socket_.Close();
  }

  void OnReady(uint32_t) override {
    batch_ = last_turn_ + 1 == loop().turn() ? std::min(batch_ * 2, kBatchMax) : 1;
    last_turn_ = loop().turn();
    for (int i = 0; i < batch_ && socket_.valid(); i++) {
      sockaddr_storage remote{};
      socklen_t length = sizeof(remote);
      Fd accepted(accept4(socket_.get(), reinterpret_cast<sockaddr*>(&remote), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (accepted.valid()) {
        pod_->Accepted(kind_, std::move(accepted), FromSockaddr(remote));
        continue;
      }
      if (errno == EAGAIN) return;
      if (IsOfConnection(errno)) continue;
      const int error = errno;
      if (error == EMFILE && RefuseWaiting()) return;
      return Pause(error);
    }
  }

 private:
  Loop& loop() { return pod_->worker_->loop; }

  // No descriptor is left: who waits learns of it at once, as from the TypeScript relay.
  bool RefuseWaiting() {
    static thread_local uint64_t logged_ms = 0;
    const int refused = SpareDescriptor::OfThread().RefuseWaiting(socket_.get(), kBatchMax);
    for (int i = 0; i < refused; i++) pod_->worker_->decider.LimitReached("descriptors");
    if (refused > 0 && (logged_ms == 0 || loop().now_ms() - logged_ms >= kLogMs)) {
      logged_ms = loop().now_ms();
      Log(Level::kWarn, "no file descriptor is free: connections of pods are refused (RLIMIT_NOFILE)");
    }
    return refused > 0;
  }

  // Connections wait in the kernel meanwhile. Level-triggered readiness would hold the loop.
  void Pause(int error) {
    if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) pod_->worker_->decider.LimitReached("descriptors");
    loop().Remove(socket_.get(), this);
    pause_timer_ = loop().After(kPauseMs, [this] {
      pause_timer_ = 0;
      if (!loop().Add(socket_.get(), this, EPOLLIN)) Pause(errno);
    });
  }

  PodListeners* pod_;
  ListenerKind kind_;
  Fd socket_;
  int batch_ = 1;
  uint64_t last_turn_ = 0;
  Loop::TimerId pause_timer_ = 0;
};

PodListeners::PodListeners(Worker* worker, const Pod* pod, TunnelServerLimits* limits) : worker_(worker), pod_(pod), limits_(limits) {}

PodListeners::~PodListeners() {
  worker_->loop.Cancel(&grace_timer_);
  CloseListeners();
  std::vector<Flow*> left;
  for (const auto& [flow, owned] : flows_) left.push_back(flow);
  for (Flow* flow : left) flow->End();
}

bool PodListeners::Listen(ListenerKind kind, Fd socket) {
  auto& listener = listeners_[static_cast<size_t>(kind) - 1];
  if (listener) {
    CloseFormer(kFormerMax - 1);
    former_.push_back(std::move(listener));
    worker_->loop.Cancel(&former_timer_);
    former_timer_ = worker_->loop.After(kFormerMs, [this] {
      former_timer_ = 0;
      CloseFormer(0);
    });
  }
  if (kind == ListenerKind::kHbone && !server_) {
    server_ = std::make_unique<TunnelServer>(worker_, pod_, limits_, [this](std::unique_ptr<IncomingTunnel> tunnel) {
      if (!MayAdd()) return tunnel->Refuse(503);
      Add(Flow::Tunnel(worker_, pod_, this, std::move(tunnel)));
    });
  }
  auto next = std::make_unique<Listener>(this, kind, std::move(socket));
  if (!next->Start()) return false;
  listener = std::move(next);
  return true;
}

bool PodListeners::IsListening(ListenerKind kind) const { return listeners_[static_cast<size_t>(kind) - 1] != nullptr; }

void PodListeners::CloseFormer(size_t kept) {
  while (former_.size() > kept) {
    former_.front()->Close();
    worker_->loop.Dispose(std::move(former_.front()));
    former_.erase(former_.begin());
  }
}

void PodListeners::CloseListeners() {
  worker_->loop.Cancel(&former_timer_);
  CloseFormer(0);
  for (auto& listener : listeners_) {
    if (!listener) continue;
    listener->Close();
    worker_->loop.Dispose(std::move(listener));
  }
}

void PodListeners::Close(uint64_t grace_ms) {
  worker_->loop.Cancel(&grace_timer_);
  if (grace_ms == 0) return CloseNow();
  grace_timer_ = worker_->loop.After(grace_ms, [this] {
    grace_timer_ = 0;
    CloseNow();
  });
}

void PodListeners::Drain() {
  if (server_) server_->Drain();
  worker_->loop.Cancel(&grace_timer_);
  grace_timer_ = worker_->loop.After(kOnTheirWayMs, [this] {
    grace_timer_ = 0;
    CloseListeners();
  });
}

void PodListeners::CloseNow() {
  CloseListeners();
  if (server_) server_->Drain();
}

bool PodListeners::idle() const {
  for (const auto& listener : listeners_)
    if (listener) return false;
  return flows_.empty() && (!server_ || server_->connections() == 0);
}

void PodListeners::Accepted(ListenerKind kind, Fd socket, const Address& remote) {
  Address local;
  if (kind != ListenerKind::kOutbound) {
    sockaddr_storage address{};
    socklen_t length = sizeof(address);
    if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return;
    local = FromSockaddr(address);
  }
  // TunnelServer has limits of its own.
  if (kind == ListenerKind::kHbone) return server_->Accept(std::move(socket), remote, local);
  // Closing it resets it.
  if (!MayAdd()) return;
  Add(kind == ListenerKind::kOutbound ? Flow::Captured(worker_, pod_, this, std::move(socket), remote)
                                      : Flow::Plain(worker_, pod_, this, std::move(socket), remote, local));
}

bool PodListeners::MayAdd() {
  const uint64_t max = worker_->limits.flows_max;
  const char* reached = nullptr;
  if (RoomOfPod(max, worker_->flows, flows_.size()) == 0) reached = worker_->flows >= max ? "connections" : "connections-of-pod";
  if (reached) worker_->decider.LimitReached(reached);
  return !reached;
}

void PodListeners::Add(std::unique_ptr<Flow> flow) {
  Flow* const added = flow.get();
  flows_.emplace(added, std::move(flow));
  added->Begin();
}

void PodListeners::OnFlowEnded(Flow* flow) {
  const auto found = flows_.find(flow);
  worker_->loop.Dispose(std::move(found->second));
  flows_.erase(found);
}

}  // namespace weft
