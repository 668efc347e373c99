// SPDX-License-Identifier: Apache-2.0
#include "http2/tunnel_pool.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "http2/pool_entry.h"

namespace weft {

namespace {
// Repeated CONNECT requests after a connection ended before the peer processed the request.
constexpr int kUnprocessedMax = 2;
}  // namespace

struct TunnelPool::Impl final : PoolEntry::Owner {
  class Opening;
  std::shared_ptr<PoolEntry> EntryOf(const std::string& key, PodKey pod, const std::string& identity);
  std::vector<std::shared_ptr<PoolEntry>> All() const;
  void Forget(const std::shared_ptr<PoolEntry>& entry);
  void OnEmpty(PoolEntry* entry) override;
  bool IsRetired(const PoolConnection* connection) const;

  Worker* worker = nullptr;
  std::unordered_map<std::string, std::shared_ptr<PoolEntry>> entries;
  // Of forgotten pods, until their last connection has closed.
  std::unordered_set<std::shared_ptr<PoolEntry>> orphans;
  std::unordered_set<Opening*> uncertified;
};

// A tunnel that is being opened.
class TunnelPool::Impl::Opening final : public TunnelPool::Request, public PoolWaiter, private StreamListener {
 public:
  Opening(Impl* pool, const Pod& pod, const TunnelTarget* target, const Address& client, OnTunnel on_tunnel)
      : pool_(pool),
        pod_(pod.cookie),
        identity_(pod.identity),
        target_(target),
        client_(client),
        key_(PoolEntry::Key(pod.cookie, pod.identity, *target)),
        on_tunnel_(std::move(on_tunnel)) {}

  ~Opening() override {
    Leave();
    loop().Cancel(&timer_);
    pool_->uncertified.erase(this);
  }

  // Finds or opens a connection. The outcome is not reported within this call.
  void Attempt() {
    loop().Cancel(&timer_);
    const CredentialPtr credential = pool_->worker->credentials.Find(identity_);
    if (!credential) return AwaitCertificate();
    // Looked up in each attempt: an entry that became empty is removed, and connections added to it would never be found.
    const std::shared_ptr<PoolEntry> entry = pool_->EntryOf(key_, pod_, identity_);
    PoolConnection* const free = entry->Choose(credential->serial, target_->spread);
    if (free && target_->spread && entry->MaySpread(*free, credential->serial)) {
      if (!entry->is_spreading()) entry->Spread(credential, *target_);
      const uint64_t until = entry->spreading_since_ms() + CurrentTunnelLimits().spread_wait_ms_max;
      if (until > loop().now_ms()) {
        entry->AwaitSpread(this);
        waits_at_ = entry;
        timer_ = loop().After(until - loop().now_ms(), [this] {
          timer_ = 0;
          Leave();
          Attempt();
        });
        return;
      }
    }
    if (free) return Use(free);
    if (!entry->is_opening()) entry->Open(credential, *target_);
    // Shares the connection, or opens the next one if it is full by then.
    entry->AwaitOpening(this);
    waits_at_ = entry;
  }

  const std::string& identity() const { return identity_; }

  void OnWaited(const Failure* failure) override {
    waits_at_.reset();
    loop().Cancel(&timer_);
    if (failure)
      Finish(nullptr, *failure);
    else
      Attempt();
  }

 private:
  Loop& loop() const { return pool_->worker->loop; }

  void AwaitCertificate() {
    pool_->uncertified.insert(this);
    if (certificate_until_ms_ == 0) certificate_until_ms_ = loop().now_ms() + CurrentTunnelLimits().certificate_wait_ms_max;
    const uint64_t left = certificate_until_ms_ > loop().now_ms() ? certificate_until_ms_ - loop().now_ms() : 0;
    timer_ = loop().After(left, [this] {
      timer_ = 0;
      Finish(nullptr, {Stage::kNoCertificate, 0, 0,
                       "no certificate for " + identity_ + " yet: check the agent's connection to the control plane"});
    });
  }

  void Use(PoolConnection* connection) {
    connection_ = connection;
    is_reused_ = connection->is_used();
    HeaderFields fields = {{":method", "CONNECT"}, {":authority", target_->authority}, {"forwarded", "for=\"" + client_.Text() + "\""}};
    if (!target_->baggage.empty()) fields.emplace_back("baggage", target_->baggage);
    stream_ = connection->Open(fields);
    if (!stream_) return Repeat("the connection accepts no more streams");
    stream_->Listen(this);
    timer_ = loop().After(CurrentTunnelLimits().response_timeout_ms_max, [this] {
      timer_ = 0;
      stream_.reset();
      Finish(nullptr, {Stage::kTunnelTimeout, 0, 0,
                       "no response to CONNECT " + target_->authority + " in " +
                           std::to_string(CurrentTunnelLimits().response_timeout_ms_max) + " ms"});
    });
  }

  void OnResponse(uint32_t status) override {
    loop().Cancel(&timer_);
    if (status == 200) return Finish(std::move(stream_), {});
    stream_.reset();
    Finish(nullptr, {Stage::kTunnelRefused, 0, status,
                     "the peer responded " + std::to_string(status) + " to CONNECT " + target_->authority});
  }

  void OnStreamReset(const StreamReset& reset) override {
    loop().Cancel(&timer_);
    // If the connection ends with its first stream, the peer rejects the connection: repeating would not help.
    const bool is_repeatable = is_reused_ && (reset.is_unprocessed || reset.by == StreamReset::By::kConnection ||
                                              pool_->IsRetired(connection_));
    const std::string why = reset.why;
    stream_.reset();
    if (is_repeatable) return Repeat(why);
    Finish(nullptr, {Stage::kTunnelReset, 0, 0, "the tunnel to " + target_->authority + " was reset: " + why});
  }

  // The peer did not process the request, and no byte of the client was sent. In the next turn: the connection may be closing.
  void Repeat(const std::string& why) {
    if (++unprocessed_ <= kUnprocessedMax) {
      timer_ = loop().After(0, [this] {
        timer_ = 0;
        Attempt();
      });
      return;
    }
    why_ = why;
    timer_ = loop().After(0, [this] {
      timer_ = 0;
      Finish(nullptr, {Stage::kTunnelReset, 0, 0, "the tunnel to " + target_->authority + " was reset: " + why_});
    });
  }

  void Leave() {
    if (waits_at_) waits_at_->Leave(this);
    waits_at_.reset();
  }

  // May delete this object.
  void Finish(std::unique_ptr<TunnelStream> stream, const Failure& failure) {
    pool_->uncertified.erase(this);
    const Failure copy = failure;
    if (const auto call = std::exchange(on_tunnel_, nullptr)) call(std::move(stream), copy);
  }

  Impl* pool_;
  PodKey pod_;
  std::string identity_;
  const TunnelTarget* target_;
  Address client_;
  std::string key_;
  OnTunnel on_tunnel_;
  std::shared_ptr<PoolEntry> waits_at_;
  PoolConnection* connection_ = nullptr;
  bool is_reused_ = false;
  int unprocessed_ = 0;
  std::string why_;
  uint64_t certificate_until_ms_ = 0;
  std::unique_ptr<Http2Stream> stream_;
  Loop::TimerId timer_ = 0;
};

TunnelPool::TunnelPool() : impl_(std::make_unique<Impl>()) {}
TunnelPool::~TunnelPool() = default;
void TunnelPool::Begin(Worker* worker) { impl_->worker = worker; }

std::unique_ptr<TunnelPool::Request> TunnelPool::Open(const Pod& pod, const TunnelTarget& target, const Address& client,
                                                      OnTunnel on_tunnel) {
  auto opening = std::make_unique<Impl::Opening>(impl_.get(), pod, &target, client, std::move(on_tunnel));
  opening->Attempt();
  return opening;
}

void TunnelPool::Update(const std::string& identity) {
  const CredentialPtr credential = impl_->worker->credentials.Find(identity);
  if (!credential) return;
  for (const auto& entry : impl_->All())
    if (entry->identity() == identity) entry->RetireOthers(credential->serial);
  const std::vector<Impl::Opening*> waiting(impl_->uncertified.begin(), impl_->uncertified.end());
  for (Impl::Opening* opening : waiting) {
    if (!impl_->uncertified.contains(opening) || opening->identity() != identity) continue;
    impl_->uncertified.erase(opening);
    opening->Attempt();
  }
}

void TunnelPool::Forget(PodKey pod) {
  for (const auto& entry : impl_->All())
    if (entry->pod() == pod) impl_->Forget(entry);
}

void TunnelPool::Drain() {
  for (const auto& entry : impl_->All()) entry->RetireOthers("");
}

size_t TunnelPool::connections() const {
  size_t count = 0;
  for (const auto& entry : impl_->All()) count += entry->connections().size();
  return count;
}

// ---- the entries

std::shared_ptr<PoolEntry> TunnelPool::Impl::EntryOf(const std::string& key, PodKey pod, const std::string& identity) {
  std::shared_ptr<PoolEntry>& entry = entries[key];
  if (!entry) entry = std::make_shared<PoolEntry>(worker, this, key, pod, identity);
  return entry;
}

std::vector<std::shared_ptr<PoolEntry>> TunnelPool::Impl::All() const {
  std::vector<std::shared_ptr<PoolEntry>> all(orphans.begin(), orphans.end());
  for (const auto& [key, entry] : entries) all.push_back(entry);
  return all;
}

void TunnelPool::Impl::Forget(const std::shared_ptr<PoolEntry>& entry) {
  const auto found = entries.find(entry->key());
  if (found != entries.end() && found->second == entry) entries.erase(found);
  // Later requests of this pod get a new entry.
  orphans.insert(entry);
  entry->Forget();
}

// Clients can name any number of unreachable destinations, so these leave nothing behind.
void TunnelPool::Impl::OnEmpty(PoolEntry* entry) {
  const auto found = entries.find(entry->key());
  if (found != entries.end() && found->second.get() == entry) entries.erase(found);
  std::erase_if(orphans, [&](const auto& orphan) { return orphan.get() == entry; });
}

bool TunnelPool::Impl::IsRetired(const PoolConnection* connection) const {
  for (const auto& entry : All())
    for (const auto& one : entry->connections())
      if (one.get() == connection) return one->is_retired();
  return true;
}

}  // namespace weft
