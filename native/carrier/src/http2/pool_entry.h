// SPDX-License-Identifier: Apache-2.0
// The connections of one (pod, identity, expected identities, next hop), and who waits for one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "http2/pool_connection.h"
#include "rules/rule.h"

namespace weft {

class PoolWaiter {
 public:
  virtual ~PoolWaiter() = default;
  // Null: a connection was opened, or an attempt to spread is over. Else no connection could be opened.
  virtual void OnWaited(const Failure* failure) = 0;
};

class PoolEntry final : public PoolConnection::Owner, public std::enable_shared_from_this<PoolEntry> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // The entry has nothing any more. It may be deleted after this call.
    virtual void OnEmpty(PoolEntry* entry) = 0;
  };

  PoolEntry(Worker* worker, Owner* owner, std::string key, PodKey pod, std::string identity);
  static std::string Key(PodKey pod, const std::string& identity, const TunnelTarget& target);

  const std::string& key() const { return key_; }
  PodKey pod() const { return pod_; }
  const std::string& identity() const { return identity_; }
  const std::vector<std::unique_ptr<PoolConnection>>& connections() const { return connections_; }
  bool is_opening() const { return opening_ != nullptr; }
  bool is_spreading() const { return spreading_ != nullptr; }
  uint64_t spreading_since_ms() const { return spreading_since_ms_; }

  // The connection for the next tunnel. Of a spreading request: the oldest one with few tunnels, so that surplus connections become idle
  // when the load falls, else the one with the fewest.
  PoolConnection* Choose(const std::string& serial, bool is_spread) const;
  // Whether a further connection should be opened before a tunnel goes to this one, which has the fewest.
  bool MaySpread(const PoolConnection& fewest, const std::string& serial) const;
  void Open(const CredentialPtr& credential, const TunnelTarget& target);
  void Spread(const CredentialPtr& credential, const TunnelTarget& target);
  void AwaitOpening(PoolWaiter* waiter) { opening_waiters_.push_back(waiter); }
  void AwaitSpread(PoolWaiter* waiter) { spread_waiters_.push_back(waiter); }
  void Leave(PoolWaiter* waiter);
  // Connections with another certificate take no new streams.
  void RetireOthers(const std::string& serial);
  void Forget();

  void OnOpened(PoolConnection* connection) override;
  void OnFailed(PoolConnection* connection, const Failure& failure) override;
  void OnAccepted(PoolConnection* connection) override;
  uint64_t IdleMsMax(const PoolConnection* connection) override;
  void OnClosed(PoolConnection* connection) override;

 private:
  std::unique_ptr<PoolConnection> Make(const CredentialPtr& credential, const TunnelTarget& target);
  void Wake(std::vector<PoolWaiter*>* waiters, const Failure* failure);
  void EndSpread(bool is_accepted);
  void CheckEmpty();

  Worker* worker_;
  Owner* owner_;
  std::string key_;
  PodKey pod_;
  std::string identity_;
  std::vector<std::unique_ptr<PoolConnection>> connections_;
  std::unique_ptr<PoolConnection> opening_;
  std::unique_ptr<PoolConnection> spreading_;
  uint64_t spreading_since_ms_ = 0;
  uint64_t no_spread_until_ms_ = 0;
  bool is_forgotten_ = false;
  std::vector<PoolWaiter*> opening_waiters_;
  std::vector<PoolWaiter*> spread_waiters_;
  std::vector<PoolWaiter*>* waking_ = nullptr;
};

}  // namespace weft
