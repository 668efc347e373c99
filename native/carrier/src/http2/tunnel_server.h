// SPDX-License-Identifier: Apache-2.0
// The server side of HBONE of one pod: mutual TLS, then CONNECT. Refusals, limits and behavior are those of src/hbone/server.ts and
// docs/hbone.md.
#pragma once

#include <functional>
#include <memory>

#include "base/fd.h"
#include "http2/tunnel_stream.h"
#include "rules/decider.h"
#include "worker.h"

namespace weft {

// A CONNECT request that is not answered yet. Destroyed unanswered: the stream is reset.
class IncomingTunnel {
 public:
  virtual ~IncomingTunnel() = default;
  // Call it once. A tunnel may be open for days, and its peer chooses how long the headers are: nobody keeps them.
  virtual TunnelQuestion TakeQuestion() = 0;
  // Responds 200. Null if the peer has left.
  virtual std::unique_ptr<TunnelStream> Accept() = 0;
  virtual void Refuse(uint32_t status) = 0;
  // Called once when the peer leaves before the response.
  virtual void OnGone(std::function<void()> call) = 0;
};

// Shares of all pods of one worker: handshakes and authenticated connections.
class TunnelServerLimits;

class TunnelServer {
 public:
  using OnTunnel = std::function<void(std::unique_ptr<IncomingTunnel> tunnel)>;

  // `pod` outlives the server.
  TunnelServer(Worker* worker, const Pod* pod, TunnelServerLimits* limits, OnTunnel on_tunnel);
  ~TunnelServer();
  // Takes over an accepted connection. Without a certificate of the pod's identity it is closed.
  void Accept(Fd socket, const Address& remote, const Address& local);
  // GOAWAY on all connections, and soon on later ones.
  void Drain();
  size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::shared_ptr<TunnelServerLimits> MakeTunnelServerLimits();

}  // namespace weft
