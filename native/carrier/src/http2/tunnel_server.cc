// SPDX-License-Identifier: Apache-2.0
#include "http2/tunnel_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <unordered_map>
#include <vector>

#include "http2/peer_connection.h"
#include "tls/credentials.h"

namespace weft {

namespace {
// As of the sockets that this node connects (net/broker.cc).
constexpr int kKeepAliveSeconds = 180;
}

struct TunnelServer::Impl : PeerConnection::Owner {
  Impl(Worker* worker, const Pod* pod, TunnelServerLimits* limits, TunnelServer::OnTunnel on_tunnel)
      : worker(worker), pod(pod), limits(limits), on_tunnel(std::move(on_tunnel)) {}

  void OnTunnel(std::unique_ptr<IncomingTunnel> tunnel) override { on_tunnel(std::move(tunnel)); }
  void OnClosed(PeerConnection* connection) override {
    const auto found = connections.find(connection);
    if (found == connections.end()) return;
    worker->loop.Dispose(std::move(found->second));
    connections.erase(found);
  }

  Worker* worker;
  const Pod* pod;
  TunnelServerLimits* limits;
  TunnelServer::OnTunnel on_tunnel;
  bool is_draining = false;
  std::unordered_map<PeerConnection*, std::unique_ptr<PeerConnection>> connections;
};

TunnelServer::TunnelServer(Worker* worker, const Pod* pod, TunnelServerLimits* limits, OnTunnel on_tunnel)
    : impl_(std::make_unique<Impl>(worker, pod, limits, std::move(on_tunnel))) {}
TunnelServer::~TunnelServer() = default;

void TunnelServer::Accept(Fd socket, const Address& remote, const Address& local) {
  Worker* const worker = impl_->worker;
  const CredentialPtr credential = worker->credentials.Find(impl_->pod->identity);
  if (!credential) return;
  const std::string from = remote.ip.Text();
  if (!impl_->limits->handshakes.Take(from, from)) {
    // Not logged per connection: a flood would fill the log.
    worker->decider.LimitReached("handshakes");
    return;
  }
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE, &kKeepAliveSeconds, sizeof(kKeepAliveSeconds));
  auto made = std::make_unique<PeerConnection>(worker, impl_->pod, impl_->limits, impl_.get(), remote, local);
  PeerConnection* const connection = made.get();
  if (!connection->Start(std::move(socket), credential->server)) return;
  if (impl_->is_draining) connection->Drain();
  impl_->connections.emplace(connection, std::move(made));
}

void TunnelServer::Drain() {
  impl_->is_draining = true;
  for (const auto& [connection, owned] : impl_->connections) connection->Drain();
}

size_t TunnelServer::connections() const { return impl_->connections.size(); }

std::shared_ptr<TunnelServerLimits> MakeTunnelServerLimits() { return std::make_shared<TunnelServerLimits>(); }

}  // namespace weft
