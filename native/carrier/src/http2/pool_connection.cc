// SPDX-License-Identifier: Apache-2.0
#include "http2/pool_connection.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "net/dial_error.h"
#include "net/sock_map.h"
#include "rules/decider.h"

namespace weft {

PoolConnection::PoolConnection(Worker* worker, Owner* owner, PodKey pod, CredentialPtr credential, const Address& next,
                               std::vector<std::string> expected)
    : worker_(worker),
      owner_(owner),
      pod_(pod),
      credential_(std::move(credential)),
      next_(next),
      expected_(std::move(expected)),
      descriptors_(pod) {}

PoolConnection::~PoolConnection() {
  worker_->loop.Cancel(&timer_);
  if (is_registered_) worker_->loop.Remove(socket_.get(), this);
}

void PoolConnection::Connect() {
  if (const char* const reached = descriptors_.Hold(1)) {
    worker_->decider.LimitReached(reached);
    return FailConnect(EMFILE);
  }
  timer_ = worker_->loop.After(CurrentTunnelLimits().connect_timeout_ms_max, [this] {
    timer_ = 0;
    Unreachable(ETIMEDOUT);
  });
  socket_request_ =
      worker_->sockets.Take(pod_, next_.ip.IsV4(), [this](Fd socket, int error) { OnSocket(std::move(socket), error); });
}

void PoolConnection::OnSocket(Fd socket, int error) {
  if (is_over_) return;
  if (error != 0) return FailConnect(error);
  socket_ = std::move(socket);
  if (!worker_->sock_map.MarkOwn(socket_.get(), nullptr)) return FailConnect(errno);
  sockaddr_storage to;
  const socklen_t bytes = ToSockaddr(next_, &to, next_.ip.IsV4());
  if (connect(socket_.get(), reinterpret_cast<sockaddr*>(&to), bytes) != 0 && errno != EINPROGRESS) return FailConnect(errno);
  if (!worker_->loop.Add(socket_.get(), this, EPOLLOUT | EPOLLET)) return FailConnect(errno);
  is_registered_ = true;
}

void PoolConnection::OnReady(uint32_t) {
  if (is_over_) return;
  int error = 0;
  socklen_t bytes = sizeof(error);
  getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &bytes);
  worker_->loop.Remove(socket_.get(), this);
  is_registered_ = false;
  if (error != 0) return FailConnect(error);
  worker_->loop.Cancel(&timer_);
  session_ = std::make_unique<Session>(&worker_->loop, this, std::move(socket_), credential_->client, pod_, false, 0);
  if (!session_->Start()) FailConnect(errno);
}

// Not within a call of the owner: the socket may come, and fail, within Take.
void PoolConnection::FailConnect(int error) {
  worker_->loop.Cancel(&timer_);
  connect_error_ = error;
  timer_ = worker_->loop.After(0, [this] {
    timer_ = 0;
    Unreachable(connect_error_);
  });
}

void PoolConnection::Unreachable(int error) {
  const char* const code = error == ETIMEDOUT ? "WEFT_DIAL_TIMEOUT: " : "WEFT_DIAL: ";
  Fail(Stage::kTunnelConnect, error,
       "no connection to " + next_.Text() + ": " + code + DialError(next_, error, CurrentTunnelLimits().connect_timeout_ms_max));
}

void PoolConnection::Fail(Stage stage, int error, const std::string& why) {
  if (std::exchange(is_over_, true)) return;
  is_retired_ = true;
  worker_->loop.Cancel(&timer_);
  if (session_) worker_->loop.Dispose(std::move(session_));
  owner_->OnFailed(this, Failure{stage, error, 0, why});
}

bool PoolConnection::OnSecured(SSL* ssl) {
  const std::string prefix = "TLS with " + next_.Text() + " failed: ";
  X509* const certificate = SSL_get0_peer_certificate(ssl);
  std::string why = "the peer presented no certificate";
  const std::string id = certificate ? SpiffeIdOf(certificate, &why) : "";
  if (!id.empty()) {
    if (expected_.empty()) {
      why = "no identity is known for this destination";
    } else if (std::find(expected_.begin(), expected_.end(), id) == expected_.end()) {
      why = "the peer is " + id + ", expected ";
      for (size_t i = 0; i < expected_.size(); i++) why += (i == 0 ? "" : " or ") + expected_[i];
    }
  }
  if (!why.empty()) {
    Fail(Stage::kTunnelIdentity, 0, prefix + why);
    return false;
  }
  const unsigned char* alpn = nullptr;
  unsigned alpn_bytes = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &alpn_bytes);
  if (std::string_view(reinterpret_cast<const char*>(alpn), alpn_bytes) != "h2") {
    Fail(Stage::kTunnelTls, 0, prefix + "the peer does not speak h2");
    return false;
  }
  is_opened_ = true;
  owner_->OnOpened(this);
  return true;
}

void PoolConnection::OnSettings() { owner_->OnAccepted(this); }

std::unique_ptr<Http2Stream> PoolConnection::Open(const HeaderFields& fields) {
  auto stream = session_ ? session_->Request(fields) : nullptr;
  if (!stream) return nullptr;
  is_used_ = true;
  if (!is_retired_) worker_->loop.Cancel(&timer_);
  return stream;
}

bool PoolConnection::is_free() const {
  return !is_retired_ && session_ && session_->can_open() &&
         session_->open_streams() < CurrentTunnelLimits().streams_per_connection_client_max;
}

void PoolConnection::Retire() {
  if (is_retired_) return;
  is_retired_ = true;
  if (!session_) return;
  if (session_->open_streams() == 0) return session_->Drain();
  EndAfter(CurrentTunnelLimits().old_certificate_ms_max, &PoolConnection::End);
}

void PoolConnection::Abandon() {
  if (std::exchange(is_over_, true)) return;
  is_retired_ = true;
  worker_->loop.Cancel(&timer_);
  socket_request_.reset();
  if (session_) {
    session_->Destroy();
    worker_->loop.Dispose(std::move(session_));
  }
}

void PoolConnection::StartIdle() {
  if (!session_ || session_->open_streams() > 0 || is_retired_ || session_->is_over()) return;
  EndAfter(owner_->IdleMsMax(this), &PoolConnection::Drain);
}

void PoolConnection::EndAfter(uint64_t ms, void (PoolConnection::*end)()) {
  worker_->loop.Cancel(&timer_);
  timer_ = worker_->loop.After(ms, [this, end] {
    timer_ = 0;
    if (session_) (this->*end)();
  });
}

void PoolConnection::OnStreamClosed() {
  if (!session_ || is_over_ || session_->open_streams() > 0) return;
  if (is_retired_)
    session_->Drain();
  else
    StartIdle();
}

void PoolConnection::OnEnd(const SessionEnd& end) {
  if (is_over_) return;
  if (!is_opened_) return Fail(Stage::kTunnelTls, 0, "TLS with " + next_.Text() + " failed: " + end.why);
  is_over_ = true;
  is_retired_ = true;
  worker_->loop.Cancel(&timer_);
  worker_->loop.Dispose(std::move(session_));
  owner_->OnClosed(this);
}

}  // namespace weft
