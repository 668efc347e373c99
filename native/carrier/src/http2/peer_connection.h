// SPDX-License-Identifier: Apache-2.0
// A peer's connection to the server side of HBONE, from its acceptance to its end.
#pragma once

#include <memory>
#include <string>

#include "http2/fair_limit.h"
#include "http2/limits.h"
#include "http2/session.h"
#include "http2/tunnel_server.h"
#include "net/descriptor_shares.h"
#include "worker.h"

namespace weft {

class TunnelServerLimits {
 public:
  TunnelServerLimits()
      : handshakes(CurrentTunnelLimits().handshakes_max), sessions(CurrentTunnelLimits().sessions_max) {}
  // Connections whose peers have not presented a certificate yet, by address.
  FairLimit handshakes;
  // By identity and namespace. Each holds memory for as long as its peer likes.
  FairLimit sessions;
};

class PeerConnection final : public SessionOwner, public Disposable {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnTunnel(std::unique_ptr<IncomingTunnel> tunnel) = 0;
    // The connection may be disposed of in this call.
    virtual void OnClosed(PeerConnection* connection) = 0;
  };

  // The place of the handshake is taken: the connection releases it.
  PeerConnection(Worker* worker, const Pod* pod, TunnelServerLimits* limits, Owner* owner, const Address& remote, const Address& local);
  ~PeerConnection() override;
  // False: it cannot be served, and is closed.
  bool Start(Fd socket, const std::shared_ptr<SSL_CTX>& context);
  // GOAWAY; soon if the connection is in its handshake, whose peer may already have sent a request.
  void Drain();

  bool OnSecured(SSL* ssl) override;
  void OnRequest(std::unique_ptr<Http2Stream> stream, const HeaderFields& fields, size_t list_bytes) override;
  void OnEnd(const SessionEnd& end) override;

 private:
  bool Refuse(const char* code, const std::string& reason);
  void EndHandshake();
  void Close();

  Worker* worker_;
  const Pod* pod_;
  TunnelServerLimits* limits_;
  Owner* owner_;
  Address remote_;
  Address local_;
  HeldDescriptors descriptors_;
  std::unique_ptr<Session> session_;
  std::string peer_;
  std::string namespace_;
  uint64_t not_after_ms_ = 0;
  bool is_in_handshake_ = true;
  bool is_admitted_ = false;
  bool wants_drain_ = false;
  Loop::TimerId drain_timer_ = 0;
};

}  // namespace weft
