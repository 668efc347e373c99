// SPDX-License-Identifier: Apache-2.0
// The client side of HBONE: tunnels are streams of pooled connections, one pool entry per (pod, identity, expected identities, next hop).
// Limits and behavior are those of src/hbone/pool.ts and docs/hbone.md.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "http2/tunnel_stream.h"
#include "rules/rule.h"
#include "worker.h"

namespace weft {

class TunnelPool {
 public:
  // A tunnel that is being opened. Canceled by its destruction.
  class Request {
   public:
    virtual ~Request() = default;
  };
  using OnTunnel = std::function<void(std::unique_ptr<TunnelStream> stream, const Failure& failure)>;

  TunnelPool();
  ~TunnelPool();
  void Begin(Worker* worker);

  // The target is valid until the callback, which never comes within this call.
  std::unique_ptr<Request> Open(const Pod& pod, const TunnelTarget& target, const Address& client, OnTunnel on_tunnel);

  // The identity has a new certificate: connections with the former one take no new streams.
  void Update(const std::string& identity);
  // The pod is gone: its connections take no new streams and close once their streams have ended.
  void Forget(PodKey pod);
  // All connections take no new streams.
  void Drain();
  size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weft
