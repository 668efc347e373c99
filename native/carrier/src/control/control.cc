// SPDX-License-Identifier: Apache-2.0
#include "control/control.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/known_fields.h"
#include "base/log.h"

namespace weft {

namespace {
constexpr size_t kConnectionsMax = 8;
constexpr uint64_t kHelloMsMax = 5000;
constexpr size_t kQueuedBytesMax = 16 << 20;
constexpr uint64_t kAcceptAgainMs = 200;
constexpr uint64_t kDrainCheckMs = 100;
// Listeners take connections that were on their way for half of it (PodListeners::kOnTheirWayMs). The rest is for a handshake and a request.
constexpr uint64_t kDrainMsMin = 2'000;
constexpr uint64_t kRetireCheckMs = 500;
constexpr uint64_t kLeaseCheckMs = 50;
constexpr uint64_t kGraceMsMax = 1ull << 40;
// For the ends of flows that were cut at the last moment to reach the agent.
constexpr uint64_t kFlushMs = 1000;
}  // namespace

Control::Control(Parts parts, Fd listener, std::string build, std::function<void()> on_ended)
    : parts_(std::move(parts)),
      listener_(std::move(listener)),
      build_(std::move(build)),
      on_ended_(std::move(on_ended)),
      started_ms_(BootMs()),
      pods_of_worker_(parts_.workers.size()) {}

Control::~Control() {
  parts_.link->Close();
  parts_.loop->Cancel(&lease_timer_);
  parts_.loop->Cancel(&drain_timer_);
  parts_.loop->Cancel(&retire_timer_);
  parts_.loop->Remove(listener_.get(), this);
}

bool Control::Start() {
  if (!spare_.valid()) spare_ = Fd(fcntl(listener_.get(), F_DUPFD_CLOEXEC, 3));
  return parts_.loop->Add(listener_.get(), this, EPOLLIN);
}

void Control::OnReady(uint32_t) {
  Fd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.valid() && (errno == EMFILE || errno == ENFILE) && spare_.valid()) {
    spare_.Close();
    socket = Fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  }
  if (!socket.valid()) {
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
    // Readiness is level-triggered: it would hold the loop.
    parts_.loop->Remove(listener_.get(), this);
    parts_.loop->After(kAcceptAgainMs, [this] { Start(); });
    return;
  }
  if (!spare_.valid()) spare_ = Fd(fcntl(listener_.get(), F_DUPFD_CLOEXEC, 3));
  if (!IsPeerTrusted(socket.get())) return Log(Level::kWarn, "an agent's connection was refused: neither root nor this process's user");
  if (connections_.size() >= kConnectionsMax) return Log(Level::kWarn, "an agent's connection was refused: there are 8 already");
  auto connection = std::make_unique<AgentConnection>(parts_.loop, std::move(socket), this, ++last_connection_);
  AgentConnection* const added = connection.get();
  if (!added->Start()) return Log(Level::kWarn, std::string("an agent's connection was refused: ") + strerror(errno));
  connections_.push_back(std::move(connection));
  parts_.loop->After(kHelloMsMax, [this, number = added->number()] {
    for (const auto& waiting : connections_)
      if (waiting->number() == number && waiting.get() != agent_) return OnEnd(waiting.get(), "no hello in 5 s");
  });
}

bool Control::OnMessage(AgentConnection* from, const pb::AgentMessage& message, Descriptors descriptors, std::string* why) {
  if (from != agent_) {
    if (message.has_hello() && descriptors.empty()) return OnHello(from, message.hello(), why);
    *why = "the first message is not a hello";
    return false;
  }
  if (!descriptors.empty() && !message.has_pod() && !message.has_maps()) {
    *why = "descriptors belong to maps and pods";
    return false;
  }
  if (HasUnknownFields(message)) {
    *why = "a message has a field that this carrier does not know";
    return false;
  }
  switch (message.kind_case()) {
    case pb::AgentMessage::kHello:
      *why = "a second hello";
      return false;
    case pb::AgentMessage::kMaps:
      return OnMaps(message.maps(), std::move(descriptors), why);
    case pb::AgentMessage::kPod:
      return OnPod(message.pod(), std::move(descriptors), why);
    case pb::AgentMessage::kPodGone:
      OnPodGone(message.pod_gone());
      return true;
    case pb::AgentMessage::kIdentities:
      OnIdentities(message.identities());
      return true;
    case pb::AgentMessage::kKeyWanted:
      OnKeyWanted(message.key_wanted());
      return true;
    case pb::AgentMessage::kCertificate:
      OnCertificate(message.certificate());
      return true;
    case pb::AgentMessage::kAnswer:
      OnAnswer(message.answer());
      return true;
    case pb::AgentMessage::kRevoke:
      OnRevoke(message.revoke());
      return true;
    case pb::AgentMessage::kAcknowledge:
      return OnAcknowledge(message.acknowledge(), why);
    case pb::AgentMessage::kLease:
      has_renewed_ = true;
      OnLease(message.lease());
      return true;
    case pb::AgentMessage::kListFlows:
      OnListFlows(message.list_flows());
      return true;
    case pb::AgentMessage::kDrain:
      Drain(message.drain().grace_ms());
      return true;
    case pb::AgentMessage::KIND_NOT_SET:
      break;
  }
  // It could be what closes something.
  *why = "a message of a kind that this carrier does not know";
  return false;
}

void Control::OnEnd(AgentConnection* connection, const std::string& why) {
  if (connection == agent_) EndSession(why);
  connection->Stop();
  const auto found = std::find_if(connections_.begin(), connections_.end(), [&](const auto& held) { return held.get() == connection; });
  if (found == connections_.end()) return;
  if (connection != agent_) Log(Level::kInfo, "an agent's connection ended: " + why);
  parts_.loop->Dispose(std::move(*found));
  connections_.erase(found);
}

void Control::EndSession(const std::string& why) {
  Log(Level::kWarn, "the agent is away: " + why);
  parts_.link->Close();
  agent_ = nullptr;
  has_renewed_ = false;
  session_ = 0;
  is_live_pending_ = false;
  packets_.clear();
  packet_bytes_ = 0;
  for (WorkerThread* const worker : parts_.workers) worker->Post([](WorkerThread& w) { w.LeaveAgent(); });
  CloseListenersAfterLease();
}

void Control::CloseListenersAfterLease() {
  parts_.loop->Cancel(&lease_timer_);
  if (is_draining_) return;
  // A lease that the agent sent at the end may still be with the workers.
  const uint64_t left = std::max(parts_.lease->left_ms(), kLeaseCheckMs);
  lease_timer_ = parts_.loop->After(left, [this] {
    lease_timer_ = 0;
    // An agent that has the node's policies answers questions even if its lease is late. One that has renewed none has no policies yet.
    if ((agent_ && has_renewed_) || is_draining_) return;
    if (parts_.lease->IsValid()) return CloseListenersAfterLease();
    Log(Level::kWarn, std::string(agent_ ? "the agent has no policies yet" : "no agent is there") +
                          " and the lease is over: the listeners are closed until an agent opens others");
    // A new agent's State names no listener, so it opens others.
    for (auto& [cookie, held] : pods_) held.listeners = 0;
    for (WorkerThread* const worker : parts_.workers) worker->Post([](WorkerThread& w) { w.traffic().CloseListeners(); });
  });
}

bool Control::OnHello(AgentConnection* from, const pb::AgentHello& hello, std::string* why) {
  pb::FromCarrier packet;
  pb::CarrierHello* const reply = packet.add_messages()->mutable_hello();
  reply->set_version(kVersion);
  reply->set_build(build_);
  reply->set_pid(static_cast<uint32_t>(getpid()));
  reply->set_started_ms(started_ms_);
  reply->set_last_rule(last_rule_);
  reply->set_is_draining(is_draining_);
  reply->set_age_ms(BootMs() - started_ms_);
  reply->set_observes(true);
  const std::string bytes = packet.SerializeAsString();
  // An agent of another version reads the versions too, and says what to do.
  if (send(from->fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
    *why = std::string("the hello could not be sent: ") + strerror(errno);
    return false;
  }
  if (hello.version() != kVersion) {
    const bool is_older = hello.version() < kVersion;
    *why = std::string("the agent is ") + (is_older ? "older" : "newer") + " than this carrier: it speaks version " +
           std::to_string(hello.version()) + " of their messages, this carrier version " + std::to_string(kVersion) +
           (is_older ? ". Upgrade the agent" : ". Upgrade the carrier");
    return false;
  }

  // What a former agent has sent counts: an end that it acknowledged is not sent again.
  if (agent_) agent_->ReadOut();
  // Its questions stay: the new one is asked again.
  AgentConnection* const former = agent_;
  parts_.link->Close();
  agent_ = nullptr;
  packets_.clear();
  packet_bytes_ = 0;
  if (former) OnEnd(former, "a newer agent replaces this one");
  agent_ = from;
  session_ = parts_.link->Open(from->fd());
  Log(Level::kInfo, "agent " + hello.build() + " is connected");
  SendStateOfControl();
  workers_without_state_ = parts_.workers.size();
  is_live_pending_ = false;
  for (WorkerThread* const worker : parts_.workers)
    worker->Post([this, session = session_](WorkerThread& w) {
      w.SendState(session, [this, session] { parts_.loop->Post([this, session] { OnWorkerState(session); }); });
    });
  return true;
}

void Control::SendStateOfControl() {
  pb::CarrierMessage message;
  size_t bytes = 0;
  const auto send_if_full = [&](size_t more) {
    if (bytes + more > kPacketBytesFull) {
      Send(std::exchange(message, {}));
      bytes = 0;
    }
    bytes += more + 8;
  };
  for (const auto& [cookie, held] : pods_) {
    if (held.is_gone) continue;
    send_if_full(64 + held.pod.uid.size() + held.pod.identity.size() + 20 * held.pod.addresses.size());
    pb::Pod* const pod = message.mutable_state()->add_pods();
    pod->set_cookie(cookie);
    pod->set_uid(held.pod.uid);
    pod->set_identity(held.pod.identity);
    for (const Ip& ip : held.pod.addresses) pod->add_addresses(ip.bytes.data(), ip.bytes.size());
    for (int kind = pb::LISTENER_OUTBOUND; kind <= pb::LISTENER_HBONE; kind++)
      if (held.listeners & (1u << kind)) pod->add_listeners(static_cast<pb::Listener>(kind));
  }
  if (bytes > 0) Send(std::move(message));
}

void Control::OnWorkerState(uint64_t session) {
  if (session != session_ || --workers_without_state_ > 0) return;
  pb::CarrierMessage last;
  last.mutable_state()->set_is_last(true);
  is_live_pending_ = true;
  Send(std::move(last));
}

// The lease is renewed once every worker has done what came before it: otherwise a rule could admit a connection between the renewal and
// its revocation, which the agent sent first.
void Control::OnLease(const pb::Lease& message) {
  const auto all = std::make_shared<Countdown>(
      [lease = parts_.lease, until_ms = Lease::UntilMs(message.for_ms())] { lease->RenewUntil(until_ms); });
  for (WorkerThread* const worker : parts_.workers) worker->Post([all](WorkerThread&) {});
}

void Control::OnAll(std::function<uint32_t(WorkerThread&)> call, std::function<pb::CarrierMessage(uint32_t)> done) {
  const auto count = std::make_shared<std::atomic<uint32_t>>(0);
  const auto all = std::make_shared<Countdown>([this, session = session_, count, done = std::move(done)] {
    parts_.loop->Post([this, session, count, done] {
      if (session == session_) Send(done(count->load()));
    });
  });
  // What the workers reported before goes out before.
  for (WorkerThread* const worker : parts_.workers)
    worker->Post([call, count, all](WorkerThread& w) {
      count->fetch_add(call(w));
      w.reports().AfterThese([all] {});
    });
}

void Control::Send(pb::CarrierMessage message) {
  if (session_ == 0) return;
  pb::FromCarrier packet;
  *packet.add_messages() = std::move(message);
  packets_.push_back(packet.SerializeAsString());
  packet_bytes_ += packets_.back().size();
  Flush();
  if (packet_bytes_ > kQueuedBytesMax && agent_)
    parts_.loop->Post([this, session = session_] {
      if (session == session_) OnEnd(agent_, "the agent does not read");
    });
}

void Control::Flush() {
  while (!packets_.empty() && parts_.link->Send(session_, packets_.front()) == AgentLink::Sent::kYes) {
    packet_bytes_ -= packets_.front().size();
    packets_.pop_front();
  }
  if (!packets_.empty() || !is_live_pending_) return;
  // State is complete at the agent: events may follow.
  is_live_pending_ = false;
  for (WorkerThread* const worker : parts_.workers) worker->Post([session = session_](WorkerThread& w) { w.GoLive(session); });
}

void Control::OnWritable(AgentConnection* from) {
  if (from != agent_ || !parts_.link->TakeWasFull()) return;
  Flush();
  for (WorkerThread* const worker : parts_.workers) worker->Post([](WorkerThread& w) { w.reports().OnWritable(); });
}

void Control::Say(Level level, const std::string& text) {
  Log(level, text);
  Send(LogToWire(level, text));
}

void Control::Retire(uint64_t grace_ms) {
  if (std::exchange(is_retired_, true)) return;
  retire_until_ms_ = BootMs() + std::min(grace_ms, kGraceMsMax);
  Say(Level::kInfo, "terminating: connections may go on for " + std::to_string(grace_ms) + " ms");
  if (is_draining_) return Drain(grace_ms);
  CheckRetired();
}

void Control::CheckRetired() {
  parts_.loop->Cancel(&retire_timer_);
  if (is_draining_) return;
  const uint64_t now = BootMs();
  const uint64_t left = retire_until_ms_ > now ? retire_until_ms_ - now : 0;
  if (left == 0 || (!agent_ && !parts_.lease->IsValid())) return Drain(left);
  retire_timer_ = parts_.loop->After(std::min(left, kRetireCheckMs), [this] {
    retire_timer_ = 0;
    CheckRetired();
  });
}

void Control::Drain(uint64_t grace_ms) {
  uint64_t until = BootMs() + std::min(grace_ms, kGraceMsMax);
  if (is_retired_) until = std::min(until, retire_until_ms_);
  if (is_draining_) {
    drain_until_ms_ = std::min(drain_until_ms_, until);
    return CheckDrained();
  }
  is_draining_ = true;
  drain_from_ms_ = BootMs();
  drain_until_ms_ = until;
  Say(Level::kInfo, "draining for " + std::to_string(grace_ms) + " ms at most");
  for (WorkerThread* const worker : parts_.workers) worker->Post([](WorkerThread& w) { w.traffic().Drain(); });
  for (auto& [cookie, held] : pods_) held.listeners = 0;
  CheckDrained();
}

void Control::CheckDrained() {
  parts_.loop->Cancel(&drain_timer_);
  const uint64_t now = BootMs();
  const bool is_over = now >= drain_until_ms_;
  if (is_over && flush_until_ms_ == 0) {
    flush_until_ms_ = now + kFlushMs;
    for (WorkerThread* const worker : parts_.workers)
      worker->Post([](WorkerThread& w) { w.decider().CutAll(kCarrierEnds); });
  }
  if (is_over && now >= flush_until_ms_) return on_ended_();
  // Ends that no agent has acknowledged yet count as well, while there is time.
  const auto left = std::make_shared<std::atomic<size_t>>(0);
  const auto all = std::make_shared<Countdown>([this, left] {
    parts_.loop->Post([this, left] {
      if (left->load() == 0 && packets_.empty() && BootMs() - drain_from_ms_ >= kDrainMsMin) on_ended_();
    });
  });
  for (WorkerThread* const worker : parts_.workers)
    worker->Post([left, all](WorkerThread& w) { left->fetch_add(w.decider().flows() + w.reports().waiting() + w.reports().unacknowledged()); });
  drain_timer_ = parts_.loop->After(kDrainCheckMs, [this] {
    drain_timer_ = 0;
    CheckDrained();
  });
}

}  // namespace weft
