// SPDX-License-Identifier: Apache-2.0
#include "http2/session.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/reset_on_close.h"
#include "http2/closing_socket.h"
#include "http2/path_rtt.h"

namespace weft {

namespace {
// Bytes that one connection reads or sends before others get their turn.
constexpr int kReadsPerTurn = 4;
constexpr int kBatchesPerTurn = 8;
// Bytes in the kernel that the network has not taken yet: small frames wait behind them.
constexpr int kNotSentBytesMax = 32 << 10;
constexpr uint64_t kRttKeptMs = 5'000;
}  // namespace

Session::Session(Loop* loop, SessionOwner* owner, Fd socket, const std::shared_ptr<SSL_CTX>& context, PodKey pod, bool is_server,
                 uint64_t settings_timeout_ms)
    : loop_(loop),
      owner_(owner),
      tls_(std::make_unique<TlsSocket>(std::move(socket), context, is_server)),
      pod_(pod),
      is_server_(is_server),
      settings_timeout_ms_(settings_timeout_ms) {
  const int on = 1;
  setsockopt(tls_->fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(tls_->fd(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kNotSentBytesMax, sizeof(kNotSentBytesMax));
}

Session::~Session() {
  loop_->CancelTurnEnd(this);
  for (Loop::TimerId* timer : {&deadline_, &ping_timer_, &drain_timer_, &again_}) loop_->Cancel(timer);
  if (is_registered_) loop_->Remove(tls_->fd(), this);
}

bool Session::Start() {
  if (!loop_->Add(tls_->fd(), this)) return false;
  is_registered_ = true;
  deadline_ = loop_->After(CurrentTunnelLimits().handshake_timeout_ms_max,
                           [this] { End({SessionEnd::Kind::kHandshake, 0, "handshake timed out"}); });
  if (!is_server_) {
    tls_->Begin();
    if (!tls_->Flush()) loop_->AtTurnEnd(this);
  }
  return true;
}

std::unique_ptr<Http2Stream> Session::Request(const HeaderFields& fields) { return can_open() ? http2_->Request(fields) : nullptr; }

void Session::OnReady(uint32_t events) {
  if (is_over_) return;
  if (events & EPOLLOUT) {
    may_send_ = true;
    if (tls_->is_blocked() || (http2_ && http2_->wants_write())) loop_->AtTurnEnd(this);
  }
  if (events & ~static_cast<uint32_t>(EPOLLOUT)) {
    is_readable_ = true;
    Read();
  }
}

void Session::Read() {
  for (int i = 0; i < kReadsPerTurn && is_readable_ && !is_over_; i++) {
    const TlsSocket::Received received = tls_->Receive();
    is_readable_ = received.may_have_more;
    loop_->AtTurnEnd(this);
    if (!http2_ && tls_->is_secured()) {
      if (!Secure()) return;
      // The end of the handshake, SETTINGS and the first request leave together.
      if (!is_server_) FlushFrames();
    }
    // Alerts, handshake messages and responses to key updates.
    if (!tls_->Flush()) is_readable_ = false;
    if (http2_ && received.count > 0 && !http2_->Receive(received.bytes, received.count)) {
      End({http2_->is_flood() ? SessionEnd::Kind::kFlood : SessionEnd::Kind::kProtocol, http2_->fault_code(), http2_->why()});
      return;
    }
    if (is_over_) return;
    switch (tls_->status()) {
      case TlsSocket::Status::kOpen:
        break;
      case TlsSocket::Status::kEnded:
        if (!http2_) return End({SessionEnd::Kind::kHandshake, 0, "the peer closed the connection"});
        return End({SessionEnd::Kind::kPeer, http2_->goaway_code(), "the peer closed the connection"});
      case TlsSocket::Status::kFailed:
        return End({http2_ ? SessionEnd::Kind::kPeer : SessionEnd::Kind::kHandshake, http2_ ? http2_->goaway_code() : 0,
                    tls_->why()});
    }
  }
}

// Goes on in the next turn: others first.
void Session::Again() {
  if (again_ != 0) return;
  again_ = loop_->After(0, [this] {
    again_ = 0;
    loop_->AtTurnEnd(this);
    if (is_readable_) Read();
  });
}

// The handshake is complete: the owner decides whether this is the right peer before anything more is sent.
bool Session::Secure() {
  loop_->Cancel(&deadline_);
  http2_ = std::make_unique<Http2Connection>(loop_, static_cast<Http2Owner*>(this), pod_, is_server_);
  if (!owner_->OnSecured(tls_->ssl())) {
    tls_->DropUnflushed();
    is_refused_ = true;
    End({SessionEnd::Kind::kLocal, 0, "refused"});
    return false;
  }
  if (settings_timeout_ms_ > 0)
    deadline_ = loop_->After(settings_timeout_ms_, [this] {
      End({SessionEnd::Kind::kTimeout, NGHTTP2_SETTINGS_TIMEOUT, "no SETTINGS frame in time"});
    });
  ping_timer_ = loop_->After(CurrentTunnelLimits().ping_interval_ms, [this] { KeepAlive(); });
  return true;
}

void Session::OnSettings() {
  if (has_settings_) return;
  has_settings_ = true;
  if (settings_timeout_ms_ > 0) loop_->Cancel(&deadline_);
  owner_->OnSettings();
}

void Session::KeepAlive() {
  const TunnelLimits& limits = CurrentTunnelLimits();
  if (ping_since_ms_ == 0) {
    ping_since_ms_ = loop_->now_ms();
    http2_->Ping();
  } else if (loop_->now_ms() - ping_since_ms_ >= limits.ping_timeout_ms_max) {
    return End({SessionEnd::Kind::kLocal, 0, "destroyed"});
  }
  ping_timer_ = loop_->After(limits.ping_interval_ms, [this] { KeepAlive(); });
}

void Session::OnPingAck() {
  ping_since_ms_ = 0;
  if (drain_timer_ != 0) Drained();
}

void Session::Drain() {
  if (is_draining_ || is_over_) return;
  if (!http2_) return Destroy();
  is_draining_ = true;
  if (!is_server_) {
    http2_->GoAway(NGHTTP2_NO_ERROR, "");
    return;
  }
  // Requests that are under way are accepted until the peer has seen the first GOAWAY (RFC 9113, section 6.8).
  http2_->SubmitShutdownNotice();
  http2_->Ping();
  drain_timer_ = loop_->After(CurrentTunnelLimits().drain_ack_ms_max, [this] { Drained(); });
}

void Session::Drained() {
  loop_->Cancel(&drain_timer_);
  if (is_over_ || http2_->has_sent_goaway()) return;
  http2_->GoAway(NGHTTP2_NO_ERROR, "");
}

void Session::Destroy() { End({SessionEnd::Kind::kLocal, 0, "destroyed"}); }

uint64_t Session::RttUs() {
  const uint64_t now = loop_->now_ms();
  if (rtt_us_ != 0 && now - rtt_at_ms_ < kRttKeptMs) return rtt_us_;
  rtt_at_ms_ = now;
  return rtt_us_ = std::max<uint64_t>(1, PathRttUs(tls_->fd()));
}

// What many streams have to send in this turn leaves in few records and few system calls.
void Session::FlushFrames() {
  TlsBuffers& buffers = TlsBuffers::OfThread();
  for (int i = 0; i < kBatchesPerTurn; i++) {
    // While the kernel takes no more, nothing is pulled: the bytes wait where they came from.
    if (tls_->is_blocked() && !may_send_) return;
    const size_t count = tls_->is_blocked() ? 0 : http2_->Produce(buffers.staging.get(), TlsBuffers::kStagingBytes);
    if (count > 0) tls_->Encrypt(buffers.staging.get(), count);
    if (count == 0 && !tls_->is_blocked()) return;
    if (!tls_->Flush()) return;
    if (tls_->is_blocked()) may_send_ = false;
  }
  if (!tls_->is_blocked()) Again();
}

void Session::OnTurnEnd() {
  if (is_over_) {
    if (is_end_delivered_) return;
    is_end_delivered_ = true;
    if (http2_) {
      const bool is_protocol = end_.kind == SessionEnd::Kind::kProtocol || end_.kind == SessionEnd::Kind::kFlood;
      http2_->CloseStreams({end_.code == 0 ? static_cast<uint32_t>(NGHTTP2_CANCEL) : end_.code,
                            is_protocol ? StreamReset::By::kProtocol : StreamReset::By::kConnection, false, end_.why});
    }
    CloseSocket();
    if (!is_refused_) owner_->OnEnd(end_);
    return;
  }
  if (!http2_) {
    tls_->Flush();
    if (tls_->status() == TlsSocket::Status::kFailed) End({SessionEnd::Kind::kHandshake, 0, tls_->why()});
    return;
  }
  FlushFrames();
  http2_->DeliverPending();
  if (is_over_) return;
  if (tls_->status() == TlsSocket::Status::kFailed) return End({SessionEnd::Kind::kPeer, http2_->goaway_code(), tls_->why()});
  if (http2_->fault_code() != 0)
    return End({http2_->is_flood() ? SessionEnd::Kind::kFlood : SessionEnd::Kind::kProtocol, http2_->fault_code(), http2_->why()});
  if (tls_->is_blocked() && http2_->queued_frames() > Floods::kQueuedFramesMax + http2_->open_streams())
    return End({SessionEnd::Kind::kFlood, NGHTTP2_ENHANCE_YOUR_CALM, "too many frames are queued and the peer does not read"});
  if (http2_->open_streams() == 0 && (http2_->has_sent_goaway() || http2_->has_goaway()) && !tls_->is_blocked()) {
    const uint32_t code = http2_->goaway_code();
    End({code == 0 ? SessionEnd::Kind::kClosed : SessionEnd::Kind::kPeer, code,
         http2_->has_goaway() ? "the peer sent GOAWAY" : "drained"});
  }
  if (is_readable_ && !is_over_) Again();
}

void Session::End(SessionEnd end) {
  if (is_over_) return;
  is_over_ = true;
  end_ = std::move(end);
  for (Loop::TimerId* timer : {&deadline_, &ping_timer_, &drain_timer_, &again_}) loop_->Cancel(timer);
  // nghttp2 may be in the middle of a call.
  loop_->AtTurnEnd(this);
}

void Session::CloseSocket() {
  const bool is_quiet = end_.kind == SessionEnd::Kind::kPeer || is_refused_ || !is_registered_;
  if (is_registered_) loop_->Remove(tls_->fd(), this);
  is_registered_ = false;
  if (!is_quiet && tls_->status() != TlsSocket::Status::kFailed) {
    if (http2_) {
      if (!http2_->has_sent_goaway()) http2_->GoAway(end_.code, end_.kind == SessionEnd::Kind::kLocal ? "" : end_.why);
      TlsBuffers& buffers = TlsBuffers::OfThread();
      // Frames that were queued, and GOAWAY. Nothing is pulled: the streams are closed.
      if (!tls_->is_blocked())
        if (const size_t count = http2_->Produce(buffers.staging.get(), TlsBuffers::kStagingBytes)) tls_->Encrypt(buffers.staging.get(), count);
    }
    tls_->Flush();
    tls_->ShutDown();
  } else if (end_.kind == SessionEnd::Kind::kHandshake) {
    // The alert.
    tls_->Flush();
  }
  tls_->DropUnflushed();
  Fd socket = tls_->TakeFd();
  if (is_quiet || end_.kind == SessionEnd::Kind::kLocal || tls_->is_blocked()) return;
  SetResetOnClose(socket.get(), false);
  LingerAndClose(loop_, std::move(socket));
}

}  // namespace weft
