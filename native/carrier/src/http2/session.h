// SPDX-License-Identifier: Apache-2.0
// One tunnel connection, of either side: a socket with TLS and HTTP/2 in the loop, its deadlines and its end.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "base/fd.h"
#include "base/loop.h"
#include "http2/connection.h"
#include "tls/tls_socket.h"

namespace weft {

struct SessionEnd {
  enum class Kind : uint8_t { kClosed, kPeer, kProtocol, kFlood, kTimeout, kLocal, kHandshake };
  Kind kind = Kind::kClosed;
  uint32_t code = 0;
  std::string why;
};

class SessionOwner {
 public:
  virtual ~SessionOwner() = default;
  // The handshake is complete and the peer's chain verified. False: the connection ends at once, without OnEnd, and a client has not sent
  // its certificate.
  virtual bool OnSecured(SSL* ssl) = 0;
  virtual void OnRequest(std::unique_ptr<Http2Stream>, const HeaderFields&, size_t) {}
  virtual void OnSettings() {}
  virtual void OnGoAway() {}
  virtual void OnStreamClosed() {}
  // The last event, also of a failed handshake. The session may be disposed of in this call.
  virtual void OnEnd(const SessionEnd& end) = 0;
};

class Session final : public Pollable, public TurnEnd, public Disposable, private Http2Owner {
 public:
  // `settings_timeout_ms`: for the peer's SETTINGS after the handshake; 0: none.
  Session(Loop* loop, SessionOwner* owner, Fd socket, const std::shared_ptr<SSL_CTX>& context, PodKey pod, bool is_server,
          uint64_t settings_timeout_ms);
  ~Session() override;
  // Registers in the loop. False: errno is set.
  bool Start();

  // Null if no stream can be opened.
  std::unique_ptr<Http2Stream> Request(const HeaderFields& fields);
  // GOAWAY: no new streams. The connection closes after the last one.
  void Drain();
  // Ends at once. OnEnd follows at the end of the turn.
  void Destroy();

  bool can_open() const { return http2_ && !is_over_ && !is_draining_ && http2_->can_open(); }
  bool is_draining() const { return is_draining_ || is_over_ || (http2_ && http2_->has_goaway()); }
  bool is_over() const { return is_over_; }
  size_t open_streams() const { return http2_ ? http2_->open_streams() : 0; }

  void OnReady(uint32_t events) override;
  void OnTurnEnd() override;

 private:
  void OnRequest(std::unique_ptr<Http2Stream> stream, const HeaderFields& fields, size_t list_bytes) override {
    owner_->OnRequest(std::move(stream), fields, list_bytes);
  }
  void OnSettings() override;
  void OnPingAck() override;
  void OnGoAway() override { owner_->OnGoAway(); }
  void OnStreamClosed() override { owner_->OnStreamClosed(); }
  void WantsFlush() override { loop_->AtTurnEnd(this); }
  uint64_t RttUs() override;

  void Read();
  bool Secure();
  void FlushFrames();
  void Again();
  void KeepAlive();
  void Drained();
  void End(SessionEnd end);
  void CloseSocket();

  Loop* loop_;
  SessionOwner* owner_;
  std::unique_ptr<TlsSocket> tls_;
  std::unique_ptr<Http2Connection> http2_;
  PodKey pod_;
  bool is_server_;
  bool is_registered_ = false;
  bool is_readable_ = false;
  bool may_send_ = true;
  bool has_settings_ = false;
  bool is_draining_ = false;
  bool is_over_ = false;
  bool is_end_delivered_ = false;
  bool is_refused_ = false;
  SessionEnd end_;
  uint64_t settings_timeout_ms_;
  Loop::TimerId deadline_ = 0;
  Loop::TimerId ping_timer_ = 0;
  Loop::TimerId drain_timer_ = 0;
  Loop::TimerId again_ = 0;
  uint64_t ping_since_ms_ = 0;  // 0: none is unanswered
  uint64_t rtt_us_ = 0;
  uint64_t rtt_at_ms_ = 0;
};

}  // namespace weft
