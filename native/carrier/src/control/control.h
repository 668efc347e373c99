// SPDX-License-Identifier: Apache-2.0
// The control thread's part: accepts agents, applies their messages, and hands work to the workers. One agent at a time: the hello of a
// newer one ends the older one's session.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/agent_link.h"
#include "agent/lease.h"
#include "base/fd.h"
#include "base/loop.h"
#include "control/agent_connection.h"
#include "control/worker_thread.h"
#include "net/sock_map.h"
#include "tls/credentials.h"

namespace weft {

class Control : public Pollable, public AgentConnection::User {
 public:
  static constexpr uint32_t kVersion = pb::VERSION_CURRENT;
  struct Parts {
    Loop* loop;
    AgentLink* link;
    Lease* lease;
    SockMap* sock_map;
    Credentials* credentials;
    std::vector<WorkerThread*> workers;
  };

  Control(Parts parts, Fd listener, std::string build, std::function<void()> on_ended);
  ~Control() override;
  bool Start();
  // Listeners close; calls back (on_ended) once no flow is left, or after the grace period, when the rest is cut.
  void Drain(uint64_t grace_ms);
  // Somebody else ends this carrier (SIGTERM): drains once the agent has a newer carrier and says so, or once no agent is there and the
  // lease is over. Until then it serves, since nobody else does.
  void Retire(uint64_t grace_ms);
  // An agent uses this carrier: rules admit connections.
  bool is_in_use() const { return agent_ && !is_draining_ && parts_.lease->IsValid(); }

  void OnReady(uint32_t events) override;
  bool OnMessage(AgentConnection* from, const pb::AgentMessage& message, std::vector<Fd> descriptors, std::string* why) override;
  void OnWritable(AgentConnection* from) override;
  void OnEnd(AgentConnection* connection, const std::string& why) override;

 private:
  struct HeldPod {
    Pod pod;
    uint32_t worker = 0;
    uint32_t listeners = 0;  // bits: 1 << pb::Listener
    uint64_t turn = 0;       // distinguishes a pod that returned
    bool is_gone = false;
  };
  using Descriptors = std::vector<Fd>;

  bool OnHello(AgentConnection* from, const pb::AgentHello& hello, std::string* why);
  void SendStateOfControl();
  void OnWorkerState(uint64_t session);
  bool OnMaps(const pb::Maps& message, Descriptors descriptors, std::string* why);
  bool OnPod(const pb::Pod& message, Descriptors descriptors, std::string* why);
  // False: no descriptor is free.
  bool ServePod(HeldPod* held, const pb::Pod& message, Descriptors descriptors);
  void OnPodGone(const pb::PodGone& message);
  void OnIdentities(const pb::Identities& message);
  void OnKeyWanted(const pb::KeyWanted& message);
  void OnCertificate(const pb::Certificate& message);
  void OnAnswer(const pb::Answer& message);
  void OnRevoke(const pb::Revoke& message);
  bool OnAcknowledge(const pb::Acknowledge& message, std::string* why);
  void OnListFlows(const pb::ListFlows& message);
  void OnLease(const pb::Lease& message);

  // Runs on every worker, then sends the message that `done` makes of the sum of the results, unless the session is over.
  void OnAll(std::function<uint32_t(WorkerThread&)> call, std::function<pb::CarrierMessage(uint32_t)> done);
  void ForgetRule(uint32_t worker, const pb::Rule& rule);
  void Send(pb::CarrierMessage message);
  void Flush();
  void EndSession(const std::string& why);
  // In the carrier's log and in the agent's.
  void Say(Level level, const std::string& text);
  void CheckDrained();
  void CheckRetired();
  // Without an agent and a lease nobody may connect: connect() is refused, instead of connections that are accepted and reset.
  void CloseListenersAfterLease();

  const Parts parts_;
  const Fd listener_;
  // Given up for a moment when no descriptor is free: an agent has to get in then, too.
  Fd spare_;
  const std::string build_;
  const std::function<void()> on_ended_;
  const uint64_t started_ms_;
  std::vector<std::unique_ptr<AgentConnection>> connections_;
  uint64_t last_connection_ = 0;
  AgentConnection* agent_ = nullptr;
  uint64_t session_ = 0;
  size_t workers_without_state_ = 0;
  bool is_live_pending_ = false;
  std::deque<std::string> packets_;
  size_t packet_bytes_ = 0;
  std::unordered_map<PodKey, HeldPod> pods_;
  std::vector<uint32_t> pods_of_worker_;
  uint64_t last_turn_ = 0;
  RuleId last_rule_ = 0;
  Loop::TimerId lease_timer_ = 0;
  // The agent of this session has sent a lease.
  bool has_renewed_ = false;
  bool is_draining_ = false;
  uint64_t drain_from_ms_ = 0;
  uint64_t drain_until_ms_ = 0;
  uint64_t flush_until_ms_ = 0;
  Loop::TimerId drain_timer_ = 0;
  bool is_retired_ = false;
  uint64_t retire_until_ms_ = 0;
  Loop::TimerId retire_timer_ = 0;
};

}  // namespace weft
