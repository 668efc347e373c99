// SPDX-License-Identifier: Apache-2.0
#include "http2/peer_connection.h"

#include <openssl/x509.h>
#include <time.h>

#include <string_view>
#include <utility>

#include "base/clock.h"
#include "http2/connect_request.h"
#include "tls/credentials.h"
#include "tls/spiffe_id.h"

namespace weft {

namespace {
constexpr uint32_t kUnauthorized = 401;
constexpr uint32_t kBadRequest = 400;

uint64_t NotAfterMs(const X509* certificate) {
  tm parts{};
  if (!ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts)) return 0;
  const time_t at = timegm(&parts);
  return at > 0 ? static_cast<uint64_t>(at) * 1000 : 0;
}

// A CONNECT request that the owner has not accepted or refused yet.
class PendingTunnel final : public IncomingTunnel, private StreamListener {
 public:
  PendingTunnel(std::unique_ptr<Http2Stream> stream, TunnelQuestion question)
      : stream_(std::move(stream)), question_(std::move(question)) {
    stream_->Listen(this);
  }

  TunnelQuestion TakeQuestion() override { return std::exchange(question_, {}); }

  std::unique_ptr<TunnelStream> Accept() override {
    if (!stream_ || stream_->is_closed()) return nullptr;
    stream_->Listen(nullptr);
    stream_->Respond(200, false);
    return std::move(stream_);
  }

  void Refuse(uint32_t status) override {
    if (!stream_) return;
    stream_->Listen(nullptr);
    stream_->Respond(status, true);
    stream_.reset();
  }

  void OnGone(std::function<void()> call) override { on_gone_ = std::move(call); }

 private:
  void OnResponse(uint32_t) override {}
  void OnStreamReset(const StreamReset&) override {
    if (const auto call = std::exchange(on_gone_, nullptr)) call();
  }

  std::unique_ptr<Http2Stream> stream_;
  TunnelQuestion question_;
  std::function<void()> on_gone_;
};
}  // namespace

PeerConnection::PeerConnection(Worker* worker, const Pod* pod, TunnelServerLimits* limits, Owner* owner, const Address& remote,
                               const Address& local)
    : worker_(worker), pod_(pod), limits_(limits), owner_(owner), remote_(remote), local_(local), descriptors_(pod->cookie) {}

PeerConnection::~PeerConnection() {
  worker_->loop.Cancel(&drain_timer_);
  EndHandshake();
  if (is_admitted_) limits_->sessions.Release(peer_, namespace_);
}

bool PeerConnection::Start(Fd socket, const std::shared_ptr<SSL_CTX>& context) {
  if (const char* const reached = descriptors_.Hold(1)) {
    worker_->decider.LimitReached(reached);
    return false;
  }
  session_ = std::make_unique<Session>(&worker_->loop, this, std::move(socket), context, pod_->cookie, true,
                                       CurrentTunnelLimits().handshake_timeout_ms_max);
  return session_->Start();
}

void PeerConnection::Drain() {
  wants_drain_ = true;
  if (!is_in_handshake_) session_->Drain();
}

void PeerConnection::EndHandshake() {
  if (!std::exchange(is_in_handshake_, false)) return;
  const std::string from = remote_.ip.Text();
  limits_->handshakes.Release(from, from);
}

bool PeerConnection::Refuse(const char* code, const std::string& reason) {
  worker_->decider.Refused(pod_->cookie, code, reason, remote_, peer_);
  return false;
}

bool PeerConnection::OnSecured(SSL* ssl) {
  EndHandshake();
  const unsigned char* alpn = nullptr;
  unsigned alpn_bytes = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &alpn_bytes);
  bool is_admitted = false;
  X509* const certificate = SSL_get0_peer_certificate(ssl);
  std::string why;
  const std::string id = certificate ? SpiffeIdOf(certificate, &why) : "";
  const std::string domain = worker_->credentials.trust_domain();
  if (std::string_view(reinterpret_cast<const char*>(alpn), alpn_bytes) != "h2") {
    Refuse("WEFT_HBONE_ALPN", "the peer does not speak h2");
  } else if (id.empty()) {
    Refuse("WEFT_HBONE_IDENTITY", why);
  } else if (domain.empty() || id.rfind("spiffe://" + domain + "/", 0) != 0) {
    Refuse("WEFT_HBONE_IDENTITY", id + " is not of trust domain " + domain);
  } else {
    peer_ = id;
    namespace_ = NamespaceOf(id);
    is_admitted = limits_->sessions.Take(peer_, namespace_);
    if (!is_admitted) {
      worker_->decider.LimitReached("tunnel-connections");
      Refuse("WEFT_CONNECTIONS_FULL", "this identity has used its share of connections");
    }
  }
  if (is_admitted) {
    is_admitted_ = true;
    not_after_ms_ = NotAfterMs(certificate);
    if (wants_drain_)
      drain_timer_ = worker_->loop.After(CurrentTunnelLimits().drain_new_ms, [this] {
        drain_timer_ = 0;
        session_->Drain();
      });
  } else {
    Close();
  }
  return is_admitted;
}

void PeerConnection::OnRequest(std::unique_ptr<Http2Stream> stream, const HeaderFields& fields, size_t list_bytes) {
  // A peer may keep its connection open without limit, but its identity is proven only until the certificate expires.
  if (WallMs() >= not_after_ms_) {
    Refuse("WEFT_HBONE_IDENTITY", "the peer's certificate has expired");
    stream->Respond(kUnauthorized, true);
    session_->Drain();
    return;
  }
  TunnelQuestion question;
  const std::string fault = ReadConnect(fields, list_bytes, &question);
  if (!fault.empty()) {
    Refuse("WEFT_HBONE_REQUEST", fault);
    stream->Respond(kBadRequest, true);
    return;
  }
  question.peer = peer_;
  question.remote = remote_;
  question.local = local_;
  owner_->OnTunnel(std::make_unique<PendingTunnel>(std::move(stream), std::move(question)));
}

void PeerConnection::OnEnd(const SessionEnd& end) {
  if (end.kind == SessionEnd::Kind::kHandshake) Refuse("WEFT_HBONE_TLS", end.why);
  if (end.kind == SessionEnd::Kind::kTimeout) Refuse("WEFT_HBONE_SILENT", "no HTTP/2 SETTINGS frame received in time");
  Close();
}

void PeerConnection::Close() {
  worker_->loop.Cancel(&drain_timer_);
  worker_->loop.Dispose(std::move(session_));
  owner_->OnClosed(this);
}

}  // namespace weft
