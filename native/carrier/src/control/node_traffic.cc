// SPDX-License-Identifier: Apache-2.0
#include "control/node_traffic.h"

#include <cerrno>
#include <utility>

#include "http2/memory.h"

namespace weft {

namespace {
constexpr uint64_t kSweepMs = 1000;
}

NodeTraffic::NodeTraffic(Loop& loop, Decider& decider, SockMap& sock_map, Credentials& credentials, const Limits& limits, Fd broker,
                         std::function<void()> on_death)
    : loop_(loop),
      broker_(&loop, std::move(broker), std::move(on_death)),
      sockets_(&loop, &broker_),
      worker_{loop, decider, sockets_, sock_map, credentials, pool_, limits},
      server_limits_(MakeTunnelServerLimits()) {
  pool_.Begin(&worker_);
  StreamMemory::OfThread().on_limit = [&decider](const char* name) { decider.LimitReached(name); };
}

NodeTraffic::~NodeTraffic() {
  loop_.Cancel(&sweep_);
  pods_.clear();
  StreamMemory::OfThread().on_limit = nullptr;
}

void NodeTraffic::AddNetns(PodKey pod, Fd netns) { sockets_.AddPod(pod, std::move(netns)); }

void NodeTraffic::SetPod(const Pod& pod) {
  std::unique_ptr<Entry>& entry = pods_[pod.cookie];
  if (!entry) entry = std::make_unique<Entry>();
  entry->pod = pod;
}

bool NodeTraffic::Listen(PodKey pod, carrier::v1::Listener kind, Fd listener) {
  const auto found = pods_.find(pod);
  if (found == pods_.end()) {
    errno = ESTALE;
    return false;
  }
  Entry* const entry = found->second.get();
  if (!entry->listeners) entry->listeners = std::make_unique<PodListeners>(&worker_, &entry->pod, server_limits_.get());
  return entry->listeners->Listen(static_cast<ListenerKind>(kind), std::move(listener));
}

void NodeTraffic::ClosePod(PodKey pod, uint64_t grace_ms) {
  const auto found = pods_.find(pod);
  if (found == pods_.end()) return;
  Entry* const entry = found->second.get();
  if (entry->listeners) {
    entry->listeners->Close(grace_ms);
    entry->closing.push_back(std::move(entry->listeners));
  }
  if (sweep_ == 0) sweep_ = loop_.After(kSweepMs, [this] { Sweep(); });
}

void NodeTraffic::Forget(PodKey pod) {
  sockets_.RemovePod(pod);
  pool_.Forget(pod);
}

void NodeTraffic::Update(const std::string& identity) { pool_.Update(identity); }

void NodeTraffic::CloseListeners() {
  for (const auto& [cookie, entry] : pods_)
    if (entry->listeners) entry->listeners->CloseListeners();
}

void NodeTraffic::Drain() {
  pool_.Drain();
  for (const auto& [cookie, entry] : pods_)
    if (entry->listeners) entry->listeners->Drain();
}

void NodeTraffic::Sweep() {
  sweep_ = 0;
  bool is_done = true;
  std::erase_if(pods_, [&](auto& item) {
    Entry* const entry = item.second.get();
    std::erase_if(entry->closing, [](const auto& listeners) { return listeners->idle(); });
    is_done = is_done && entry->closing.empty();
    return entry->closing.empty() && !entry->listeners;
  });
  if (!is_done) sweep_ = loop_.After(kSweepMs, [this] { Sweep(); });
}

}  // namespace weft
