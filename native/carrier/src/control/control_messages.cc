// SPDX-License-Identifier: Apache-2.0
// The agent's messages: what each does.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "agent/known_fields.h"
#include "base/log.h"
#include "base/netns.h"
#include "control/control.h"

namespace weft {

namespace {
constexpr size_t kPodsMax = 4096;
constexpr int kAddressesMax = 64;
constexpr int kIdentitiesMax = 4096;
constexpr size_t kNameBytesMax = 2048;

// A listening TCP socket of the pod's network namespace.
bool IsListenerOf(int fd, PodKey pod) {
  int listens = 0, protocol = 0;
  socklen_t size = sizeof(int);
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0) return false;
  if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 || protocol != IPPROTO_TCP) return false;
  return CheckNetns(fd, pod) == 0;
}

Fd Duplicate(int fd) { return Fd(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }
}  // namespace

bool Control::OnMaps(const pb::Maps& message, Descriptors descriptors, std::string* why) {
  if (descriptors.size() != 1) {
    *why = "maps without its descriptor";
    return false;
  }
  const pb::SockLayout& sock = message.sock();
  const SockLayout layout{sock.row_bytes(), sock.kind(),        sock.ip(),     sock.port(),
                          sock.chosen(),    sock.chosen_port(), sock.dialed(), sock.own()};
  if (parts_.sock_map->Use(std::move(descriptors[0]), layout)) return true;
  *why = "its weft_sock is not a map of sockets with rows as it states them";
  return false;
}

bool Control::OnPod(const pb::Pod& message, Descriptors descriptors, std::string* why) {
  if (!descriptors.empty() && descriptors.size() != 1 + static_cast<size_t>(message.listeners_size())) {
    *why = "a pod with other descriptors than its network namespace and its listeners";
    return false;
  }
  const std::string name = "pod " + TextToWire(message.uid());
  if (message.cookie() == 0 || message.uid().size() > kNameBytesMax || message.identity().size() > kNameBytesMax ||
      message.addresses_size() > kAddressesMax || HasUnknownFields(message)) {
    Say(Level::kError, name + " is not served: its message is not valid, or has a field that this carrier does not know");
    return true;
  }
  Pod pod{message.cookie(), message.uid(), message.identity(), {}};
  for (const std::string& address : message.addresses()) {
    const std::optional<Ip> ip = IpFromWire(address);
    if (ip) pod.addresses.push_back(*ip);
  }

  const auto found = pods_.find(pod.cookie);
  const bool is_known = found != pods_.end() && !found->second.is_gone;
  if (!descriptors.empty()) {
    if (is_draining_) {
      Say(Level::kWarn, name + " is not served: this carrier is draining");
      return true;
    }
    if (!IsNetns(descriptors[0].get())) {
      Say(Level::kError, name + " is not served: its first descriptor is not a network namespace");
      return true;
    }
  } else if (!is_known) {
    Say(Level::kError, name + " is not served: it is not known, and has no descriptors");
    return true;
  }
  if (found == pods_.end() && pods_.size() >= kPodsMax) {
    Say(Level::kError, name + " is not served: there are 4096 pods already");
    return true;
  }
  HeldPod& held = pods_[pod.cookie];
  // A pod that returns stays with its worker: former flows of it are there.
  if (found == pods_.end()) {
    const auto fewest = std::min_element(pods_of_worker_.begin(), pods_of_worker_.end());
    held.worker = static_cast<uint32_t>(fewest - pods_of_worker_.begin());
    ++*fewest;
  }
  held.pod = std::move(pod);
  held.is_gone = false;
  if (!is_known) {
    held.turn = ++last_turn_;
    held.listeners = 0;
  }
  if (ServePod(&held, message, std::move(descriptors))) return true;
  // The next session's State names no listener of this pod, so that it is sent again.
  held.listeners = 0;
  *why = "no descriptor is free for " + name;
  return false;
}

bool Control::ServePod(HeldPod* held, const pb::Pod& message, Descriptors descriptors) {
  WorkerThread* const owner = parts_.workers[held->worker];
  owner->Post([pod = held->pod](WorkerThread& w) {
    w.decider().AddPod(pod.cookie);
    w.traffic().SetPod(pod);
  });
  if (descriptors.empty()) return true;
  const PodKey cookie = held->pod.cookie;
  for (WorkerThread* const worker : parts_.workers) {
    const auto netns = std::make_shared<Fd>(Duplicate(descriptors[0].get()));
    if (!netns->valid()) return false;
    worker->Post([cookie, netns](WorkerThread& w) { w.traffic().AddNetns(cookie, std::move(*netns)); });
  }
  for (int i = 0; i < message.listeners_size(); i++) {
    const pb::Listener kind = message.listeners(i);
    Fd& descriptor = descriptors[static_cast<size_t>(i) + 1];
    if (kind < pb::LISTENER_OUTBOUND || kind > pb::LISTENER_HBONE || !IsListenerOf(descriptor.get(), cookie)) {
      Say(Level::kError, "pod " + held->pod.uid + ": a listener is not one of its network namespace, or of a kind that this carrier does not know");
      continue;
    }
    held->listeners |= 1u << kind;
    const auto listener = std::make_shared<Fd>(std::move(descriptor));
    owner->Post([cookie, kind, listener, uid = held->pod.uid](WorkerThread& w) {
      if (!w.traffic().Listen(cookie, kind, std::move(*listener)))
        w.decider().Say(Level::kError, "pod " + uid + ": the carrier cannot accept connections");
    });
  }
  return true;
}

void Control::OnPodGone(const pb::PodGone& message) {
  const auto found = pods_.find(message.cookie());
  if (found == pods_.end() || found->second.is_gone) return;
  HeldPod& held = found->second;
  held.is_gone = true;
  held.listeners = 0;
  parts_.workers[held.worker]->Post(
      [cookie = message.cookie(), grace_ms = message.grace_ms()](WorkerThread& w) { w.ClosePod(cookie, grace_ms); });
  parts_.loop->After(message.grace_ms(), [this, cookie = message.cookie(), turn = held.turn] {
    const auto pod = pods_.find(cookie);
    if (pod == pods_.end() || pod->second.turn != turn || !pod->second.is_gone) return;
    pods_of_worker_[pod->second.worker]--;
    pods_.erase(pod);
    for (WorkerThread* const worker : parts_.workers) worker->Post([cookie](WorkerThread& w) { w.traffic().Forget(cookie); });
  });
}

void Control::OnIdentities(const pb::Identities& message) {
  if (message.wanted_size() > kIdentitiesMax) return Say(Level::kError, "more than 4096 identities: the former ones stay");
  parts_.credentials->Keep({message.wanted().begin(), message.wanted().end()}, message.trust_domain());
}

void Control::OnKeyWanted(const pb::KeyWanted& message) {
  const std::string csr = parts_.credentials->MakeKey(message.identity(), message.turn());
  if (csr.empty()) return Say(Level::kError, "no key could be made for " + message.identity());
  pb::CarrierMessage made;
  made.mutable_key_made()->set_identity(message.identity());
  made.mutable_key_made()->set_turn(message.turn());
  made.mutable_key_made()->set_csr_pem(csr);
  Send(std::move(made));
}

void Control::OnCertificate(const pb::Certificate& message) {
  std::string why;
  if (!parts_.credentials->Install(message.identity(), message.turn(), message.chain_pem(), message.roots_pem(), message.serial(),
                                   message.not_after_ms(), &why))
    return Say(Level::kError, "the certificate of " + message.identity() + " is not used: " + why);
  for (WorkerThread* const worker : parts_.workers)
    worker->Post([identity = message.identity()](WorkerThread& w) { w.traffic().Update(identity); });
}

void Control::ForgetRule(uint32_t worker, const pb::Rule& rule) {
  auto ended = std::make_shared<Rule>();
  ended->id = rule.id();
  parts_.workers[worker]->Post([ended](WorkerThread& w) { w.reports().RuleEnded(ended); });
}

void Control::OnAnswer(const pb::Answer& message) {
  const FlowId flow = message.flow();
  const uint32_t index = RuleDecider::WorkerOf(flow);
  if (index >= parts_.workers.size()) return;
  WorkerThread* const worker = parts_.workers[index];
  switch (message.decision_case()) {
    case pb::Answer::kRule: {
      last_rule_ = std::max(last_rule_, message.rule().id());
      std::string why;
      if (const RulePtr rule = RuleFromWire(message.rule(), &why))
        return worker->Post([flow, rule](WorkerThread& w) { w.decider().AnswerNewRule(flow, rule); });
      Say(Level::kError, why);
      worker->Post([flow](WorkerThread& w) { w.decider().AnswerRefuse(flow, 0); });
      return ForgetRule(index, message.rule());
    }
    case pb::Answer::kRuleId:
      return worker->Post([flow, rule = message.rule_id()](WorkerThread& w) { w.decider().AnswerRule(flow, rule); });
    case pb::Answer::kRefuse:
      return worker->Post([flow, status = message.refuse().status()](WorkerThread& w) {
        w.decider().AnswerRefuse(flow, status >= 400 && status < 600 ? status : 503);
      });
    case pb::Answer::DECISION_NOT_SET:
      break;
  }
  Say(Level::kError, "an answer has no decision that this carrier knows: refused");
  worker->Post([flow](WorkerThread& w) { w.decider().AnswerRefuse(flow, 0); });
}

void Control::OnRevoke(const pb::Revoke& message) {
  const auto rules = std::make_shared<const std::vector<RuleId>>(message.rules().begin(), message.rules().end());
  OnAll([rules, cut = message.cut(), reason = message.reason()](WorkerThread& w) { return w.decider().Revoke(*rules, cut, reason); },
        [call = message.call()](uint32_t count) {
          pb::CarrierMessage done;
          done.mutable_done()->set_call(call);
          done.mutable_done()->set_cut(count);
          return done;
        });
}

bool Control::OnAcknowledge(const pb::Acknowledge& message, std::string* why) {
  if (message.worker() >= parts_.workers.size()) {
    *why = "an acknowledgment of a worker that does not exist";
    return false;
  }
  parts_.workers[message.worker()]->Post([batch = message.batch()](WorkerThread& w) { w.reports().Acknowledge(batch); });
  return true;
}

void Control::OnListFlows(const pb::ListFlows& message) {
  const uint32_t call = message.call();
  OnAll(
      [call](WorkerThread& w) {
        w.SendFlows(call);
        return 0;
      },
      [call](uint32_t) {
        pb::CarrierMessage last;
        last.mutable_flows()->set_call(call);
        last.mutable_flows()->set_is_last(true);
        return last;
      });
}

}  // namespace weft
