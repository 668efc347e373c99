// SPDX-License-Identifier: Apache-2.0
// One connection of the pool, from connect() to its end: its tunnels, and when it ends (src/hbone/pool-connection.ts).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "http2/limits.h"
#include "http2/session.h"
#include "net/descriptor_shares.h"
#include "net/pod_sockets.h"
#include "tls/credentials.h"
#include "worker.h"

namespace weft {

class PoolConnection final : public SessionOwner, public Pollable, public Disposable {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // The peer has proven its identity. Requests may be opened in this call.
    virtual void OnOpened(PoolConnection* connection) = 0;
    // It could not be opened. The connection may be disposed of in this call.
    virtual void OnFailed(PoolConnection* connection, const Failure& failure) = 0;
    // The peer's SETTINGS have arrived.
    virtual void OnAccepted(PoolConnection* connection) = 0;
    virtual uint64_t IdleMsMax(const PoolConnection* connection) = 0;
    // After OnOpened. The connection may be disposed of in this call.
    virtual void OnClosed(PoolConnection* connection) = 0;
  };

  PoolConnection(Worker* worker, Owner* owner, PodKey pod, CredentialPtr credential, const Address& next,
                 std::vector<std::string> expected);
  ~PoolConnection() override;
  // No call of the owner comes within this call.
  void Connect();

  // Null: the connection takes no more streams.
  std::unique_ptr<Http2Stream> Open(const HeaderFields& fields);
  size_t tunnels() const { return session_ ? session_->open_streams() : 0; }
  const std::string& serial() const { return credential_->serial; }
  // Whether another tunnel may be opened.
  bool is_free() const;
  // It takes new tunnels, now or after some have ended.
  bool is_in_use() const { return !is_retired_ && session_ && !session_->is_draining(); }
  bool is_retired() const { return is_retired_; }
  // It has carried a request.
  bool is_used() const { return is_used_; }
  // Takes no new tunnels and closes after the last one.
  void Retire();
  // Ends at once; the owner is not called.
  void Abandon();
  // Starts the idle time of a connection that was opened for tunnels that others took.
  void StartIdle();

  void OnReady(uint32_t events) override;
  bool OnSecured(SSL* ssl) override;
  void OnSettings() override;
  void OnGoAway() override { Retire(); }
  void OnStreamClosed() override;
  void OnEnd(const SessionEnd& end) override;

 private:
  void OnSocket(Fd socket, int error);
  void FailConnect(int error);
  void Unreachable(int error);
  void Fail(Stage stage, int error, const std::string& why);
  void EndAfter(uint64_t ms, void (PoolConnection::*end)());
  void End() { session_->Destroy(); }
  void Drain() { session_->Drain(); }

  Worker* worker_;
  Owner* owner_;
  PodKey pod_;
  CredentialPtr credential_;
  Address next_;
  std::vector<std::string> expected_;
  std::unique_ptr<PodSockets::Request> socket_request_;
  HeldDescriptors descriptors_;
  Fd socket_;
  bool is_registered_ = false;
  std::unique_ptr<Session> session_;
  Loop::TimerId timer_ = 0;
  int connect_error_ = 0;
  bool is_opened_ = false;
  bool is_retired_ = false;
  bool is_used_ = false;
  bool is_over_ = false;
};

}  // namespace weft
