// SPDX-License-Identifier: Apache-2.0
#include "http2/pool_entry.h"

#include <algorithm>

namespace weft {

PoolEntry::PoolEntry(Worker* worker, Owner* owner, std::string key, PodKey pod, std::string identity)
    : worker_(worker), owner_(owner), key_(std::move(key)), pod_(pod), identity_(std::move(identity)) {}

std::string PoolEntry::Key(PodKey pod, const std::string& identity, const TunnelTarget& target) {
  std::string key = std::to_string(pod) + ' ' + identity;
  for (const std::string& expected : target.expected) key += ' ' + expected;
  return key + ' ' + target.next.Text();
}

PoolConnection* PoolEntry::Choose(const std::string& serial, bool is_spread) const {
  PoolConnection* fewest = nullptr;
  for (const auto& connection : connections_) {
    if (!connection->is_free() || connection->serial() != serial) continue;
    if (!is_spread || connection->tunnels() < CurrentTunnelLimits().spread_tunnels_min) return connection.get();
    if (!fewest || connection->tunnels() < fewest->tunnels()) fewest = connection.get();
  }
  return fewest;
}

bool PoolEntry::MaySpread(const PoolConnection& fewest, const std::string& serial) const {
  const TunnelLimits& limits = CurrentTunnelLimits();
  if (fewest.tunnels() < limits.spread_tunnels_min) return false;
  if (spreading_) return true;
  if (is_forgotten_ || worker_->loop.now_ms() < no_spread_until_ms_) return false;
  const auto in_use = std::count_if(connections_.begin(), connections_.end(), [&](const auto& connection) {
    return connection->is_in_use() && connection->serial() == serial;
  });
  return static_cast<uint32_t>(in_use) < limits.spread_connections_max;
}

std::unique_ptr<PoolConnection> PoolEntry::Make(const CredentialPtr& credential, const TunnelTarget& target) {
  return std::make_unique<PoolConnection>(worker_, this, pod_, credential, target.next, target.expected);
}

void PoolEntry::Open(const CredentialPtr& credential, const TunnelTarget& target) {
  opening_ = Make(credential, target);
  opening_->Connect();
}

// It joins the others once the peer has sent its SETTINGS: a peer that has no room for it ends it, and no tunnel fails.
void PoolEntry::Spread(const CredentialPtr& credential, const TunnelTarget& target) {
  spreading_since_ms_ = worker_->loop.now_ms();
  spreading_ = Make(credential, target);
  spreading_->Connect();
}

void PoolEntry::Leave(PoolWaiter* waiter) {
  std::erase(opening_waiters_, waiter);
  std::erase(spread_waiters_, waiter);
  if (waking_) std::replace(waking_->begin(), waking_->end(), waiter, static_cast<PoolWaiter*>(nullptr));
}

void PoolEntry::RetireOthers(const std::string& serial) {
  for (const auto& connection : connections_)
    if (connection->serial() != serial) connection->Retire();
}

void PoolEntry::Forget() {
  const auto self = shared_from_this();
  is_forgotten_ = true;
  RetireOthers("");
  CheckEmpty();
}

void PoolEntry::OnOpened(PoolConnection* connection) {
  if (connection != opening_.get()) return;
  const auto self = shared_from_this();
  connections_.push_back(std::move(opening_));
  Wake(&opening_waiters_, nullptr);
  if (is_forgotten_)
    connection->Retire();
  else
    connection->StartIdle();
}

void PoolEntry::OnFailed(PoolConnection* connection, const Failure& failure) {
  const auto self = shared_from_this();
  const Failure copy = failure;
  if (connection == spreading_.get()) return EndSpread(false);
  worker_->loop.Dispose(std::move(opening_));
  Wake(&opening_waiters_, &copy);
  CheckEmpty();
}

void PoolEntry::OnAccepted(PoolConnection* connection) {
  if (connection == spreading_.get()) EndSpread(true);
}

void PoolEntry::EndSpread(bool is_accepted) {
  const auto self = shared_from_this();
  if (is_accepted) {
    PoolConnection* const connection = spreading_.get();
    connections_.push_back(std::move(spreading_));
    if (is_forgotten_)
      connection->Retire();
    else
      connection->StartIdle();
  } else {
    // The tunnels use the connections that are open.
    no_spread_until_ms_ = worker_->loop.now_ms() + CurrentTunnelLimits().spread_retry_ms;
    worker_->loop.Dispose(std::move(spreading_));
  }
  Wake(&spread_waiters_, nullptr);
  CheckEmpty();
}

uint64_t PoolEntry::IdleMsMax(const PoolConnection* connection) {
  const auto first = std::find_if(connections_.begin(), connections_.end(), [](const auto& one) { return one->is_in_use(); });
  const bool is_first = first != connections_.end() && first->get() == connection;
  return is_first ? CurrentTunnelLimits().idle_connection_ms_max : CurrentTunnelLimits().idle_surplus_ms_max;
}

void PoolEntry::OnClosed(PoolConnection* connection) {
  const auto self = shared_from_this();
  if (connection == spreading_.get()) return EndSpread(false);
  const auto found =
      std::find_if(connections_.begin(), connections_.end(), [&](const auto& one) { return one.get() == connection; });
  if (found == connections_.end()) return;
  worker_->loop.Dispose(std::move(*found));
  connections_.erase(found);
  CheckEmpty();
}

void PoolEntry::Wake(std::vector<PoolWaiter*>* waiters, const Failure* failure) {
  std::vector<PoolWaiter*> woken;
  woken.swap(*waiters);
  // A waiter may delete others.
  auto* const outer = std::exchange(waking_, &woken);
  for (size_t i = 0; i < woken.size(); i++)
    if (PoolWaiter* const waiter = std::exchange(woken[i], nullptr)) waiter->OnWaited(failure);
  waking_ = outer;
}

// The owner lets go of the entry: callers hold it until they return.
void PoolEntry::CheckEmpty() {
  if (connections_.empty() && !opening_ && !spreading_) owner_->OnEmpty(this);
}

}  // namespace weft
