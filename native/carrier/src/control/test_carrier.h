// SPDX-License-Identifier: Apache-2.0
// For tests: the protocol over a real socket. Control thread and workers as in the carrier, with pods that only record what they are asked
// to do, and an agent that the test plays.
#pragma once
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent/packet.h"
#include "base/netns.h"
#include "control/control.h"
#include "net/socket_file.h"

namespace weft {

struct Seen {
  std::mutex mutex;
  std::map<PodKey, std::string> pods;  // identity
  std::set<std::pair<PodKey, int>> listeners;
  std::set<PodKey> closed, forgotten;
  std::multiset<PodKey> netns;
  std::map<PodKey, std::thread::id> threads;
  int drains = 0;
};

class TestTraffic : public Traffic {
 public:
  explicit TestTraffic(Seen* seen) : seen_(seen) {}
  void AddNetns(PodKey pod, Fd netns) override {
    std::lock_guard lock(seen_->mutex);
    if (netns.valid()) seen_->netns.insert(pod);
  }
  void SetPod(const Pod& pod) override {
    std::lock_guard lock(seen_->mutex);
    seen_->pods[pod.cookie] = pod.identity;
    seen_->threads[pod.cookie] = std::this_thread::get_id();
  }
  bool Listen(PodKey pod, pb::Listener kind, Fd listener) override {
    std::lock_guard lock(seen_->mutex);
    seen_->listeners.insert({pod, kind});
    return listener.valid();
  }
  void ClosePod(PodKey pod, uint64_t) override {
    std::lock_guard lock(seen_->mutex);
    seen_->closed.insert(pod);
  }
  void Forget(PodKey pod) override {
    std::lock_guard lock(seen_->mutex);
    seen_->forgotten.insert(pod);
  }
  void Update(const std::string&) override {}
  void CloseListeners() override {
    std::lock_guard lock(seen_->mutex);
    seen_->listeners.clear();
  }
  void Drain() override {
    std::lock_guard lock(seen_->mutex);
    seen_->drains++;
  }

 private:
  Seen* const seen_;
};

struct TestFlow : Decided {
  TestFlow(Decider* decider, PodKey pod) : decider(decider), key(pod), number(decider->NewFlowId()) {}
  FlowId id() const override { return number; }
  PodKey pod() const override { return key; }
  Address client() const override { return {*ParseIp("10.0.0.1"), 40'000}; }
  uint64_t started_ms() const override { return started; }
  uint64_t bytes_sent() const override { return 1; }
  uint64_t bytes_received() const override { return 2; }
  void OnDecision(const Decision& decision) override {
    is_permitted = decision.rule != nullptr;
    if (is_permitted)
      decider->Opened(this);
    else
      decider->Canceled(this);
  }
  void Cut(const std::string& reason) override { decider->Closed(this, Ended::kCut, reason); }
  Decider* decider;
  PodKey key;
  FlowId number;
  bool is_permitted = false;
  uint64_t started = BootMs();
};

class Agent {
 public:
  explicit Agent(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    REQUIRE(connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  }
  // Connected already.
  explicit Agent(Fd socket) : socket_(std::move(socket)) {}
  void Raw(const std::string& bytes) { send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  void Send(const pb::AgentMessage& message, const std::vector<int>& descriptors = {}) {
    pb::ToCarrier packet;
    *packet.add_messages() = message;
    std::string bytes = packet.SerializeAsString();
    iovec part{bytes.data(), bytes.size()};
    char control[CMSG_SPACE(sizeof(int) * 16)] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!descriptors.empty()) {
      header.msg_control = control;
      header.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors.size());
      cmsghdr* const rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
      memcpy(CMSG_DATA(rights), descriptors.data(), sizeof(int) * descriptors.size());
    }
    CHECK(sendmsg(socket_.get(), &header, MSG_NOSIGNAL) >= 0);
  }
  void Renew(uint32_t for_ms) {
    pb::AgentMessage lease;
    lease.mutable_lease()->set_for_ms(for_ms);
    Send(lease);
  }
  void Acknowledge() {
    pb::AgentMessage message;
    message.mutable_acknowledge()->set_worker(worker);
    message.mutable_acknowledge()->set_batch(batch);
    Send(message);
  }
  // A question comes, and this is its answer.
  void AnswerBy(const pb::Rule& rule) {
    const auto question = Next();
    REQUIRE(question);
    REQUIRE(question->has_question());
    pb::AgentMessage answer;
    answer.mutable_answer()->set_flow(question->question().flow());
    *answer.mutable_answer()->mutable_rule() = rule;
    Send(answer);
  }
  void Hello(uint32_t version = Control::kVersion) {
    pb::AgentMessage hello;
    hello.mutable_hello()->set_version(version);
    hello.mutable_hello()->set_build("test");
    Send(hello);
  }
  // The next message; nothing at the end of the connection, or after 5 s.
  std::optional<pb::CarrierMessage> Next(int wait_ms = 5000) {
    if (waiting_.empty()) {
      pollfd ready{socket_.get(), POLLIN, 0};
      if (poll(&ready, 1, wait_ms) <= 0) return std::nullopt;
      std::string buffer;
      std::vector<Fd> descriptors;
      if (ReceivePacket(socket_.get(), &buffer, &descriptors) != Received::kPacket) {
        is_closed_ = true;
        return std::nullopt;
      }
      CHECK(buffer.size() <= kPacketBytesMax);
      pb::FromCarrier packet;
      REQUIRE(packet.ParseFromString(buffer));
      waiting_.assign(packet.messages().begin(), packet.messages().end());
      worker = packet.worker();
      if (packet.batch() != 0) batch = packet.batch();
    }
    if (waiting_.empty()) return std::nullopt;
    pb::CarrierMessage message = waiting_.front();
    waiting_.pop_front();
    return message;
  }
  // Hello and state.
  pb::State Start() {
    Hello();
    const auto hello = Next();
    REQUIRE(hello);
    REQUIRE(hello->has_hello());
    carrier = hello->hello();
    pb::State all;
    while (!all.is_last()) {
      const auto state = Next();
      REQUIRE(state);
      REQUIRE(state->has_state());
      all.MergeFrom(state->state());
    }
    return all;
  }
  bool IsClosed() {
    while (Next()) {
    }
    return is_closed_;
  }
  pb::CarrierHello carrier;
  // Of the last packet with ends.
  uint32_t worker = 0;
  uint64_t batch = 0;

 private:
  Fd socket_;
  std::deque<pb::CarrierMessage> waiting_;
  bool is_closed_ = false;
};

struct Carrier {
  Seen seen;
  Loop loop;
  AgentLink link;
  Lease lease;
  SockMap sock_map;
  Credentials credentials;
  std::vector<std::unique_ptr<WorkerThread>> workers;
  std::unique_ptr<Control> control;
  std::string directory;
  std::string path;
  std::thread thread;
  std::atomic<bool> has_ended = false;

  explicit Carrier(uint32_t count = 2) {
    char name[] = "/tmp/weft-carrier-test-XXXXXX";
    directory = mkdtemp(name);
    path = directory + "/test.sock";
    Control::Parts parts{&loop, &link, &lease, &sock_map, &credentials, {}};
    for (uint32_t i = 0; i < count; i++) {
      workers.push_back(std::make_unique<WorkerThread>(
          i, &link, &lease, [this](Loop&, Decider&) { return std::make_unique<TestTraffic>(&seen); }));
      parts.workers.push_back(workers.back().get());
    }
    std::string why;
    SocketFile file;
    Fd listener = SocketFile::Listen(path, &file, &why);
    REQUIRE_MESSAGE(listener.valid(), why);
    control = std::make_unique<Control>(std::move(parts), std::move(listener), "build", [this] { has_ended = true; });
    REQUIRE(control->Start());
    for (const auto& worker : workers) worker->Start();
    thread = std::thread([this] { loop.Run(); });
  }
  ~Carrier() {
    loop.Post([this] { loop.Stop(); });
    thread.join();
    workers.clear();
    control.reset();
    unlink(path.c_str());
    rmdir(directory.c_str());
  }
  // A flow of the first worker whose question the agent answers by a rule.
  std::unique_ptr<TestFlow> Open(Agent* agent, const pb::Rule& rule) {
    auto flow = Ask(rule.pod(), PlainQuestion{{*ParseIp("10.0.0.1"), 40'000}, {*ParseIp("10.0.0.1"), 80}});
    agent->AnswerBy(rule);
    const auto opened = agent->Next();
    REQUIRE(opened);
    REQUIRE(opened->records().records().size() == Reports::kRecordBytes);
    CHECK(static_cast<uint8_t>(opened->records().records()[8]) == rule.id());
    return flow;
  }
  std::unique_ptr<TestFlow> Ask(PodKey pod, const Question& question);
  // Until the worker knows that no agent is there.
  void AwaitNoAgent();
  // Runs on the worker's thread and waits.
  void On(uint32_t worker, const std::function<void(WorkerThread&)>& call) {
    std::atomic<bool> is_done = false;
    workers[worker]->Post([&](WorkerThread& w) {
      call(w);
      is_done = true;
    });
    while (!is_done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
};

// The flow of the only record, an end; 0: it is none.
inline FlowId EndOf(const std::optional<pb::CarrierMessage>& message) {
  if (!message || message->records().records().size() != Reports::kRecordBytes) return 0;
  const std::string& bytes = message->records().records();
  FlowId flow = 0;
  for (size_t i = 8; i-- > 0;) flow = flow << 8 | static_cast<uint8_t>(bytes[i]);
  return bytes[60] == 2 ? flow : 0;
}

template <typename Check>
bool Eventually(Check check) {
  for (int i = 0; i < 2000; i++) {
    if (check()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

struct Descriptors {
  Fd netns{open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)};
  Fd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  uint64_t cookie = 0;
  Descriptors() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(listen(listener.get(), 8) == 0);
    cookie = NetnsCookie(listener.get());
    REQUIRE(cookie != 0);
  }
  pb::AgentMessage Pod() const {
    pb::AgentMessage message;
    pb::Pod* const pod = message.mutable_pod();
    pod->set_cookie(cookie);
    pod->set_uid("uid");
    pod->set_identity("spiffe://d/ns/n/sa/s");
    pod->add_addresses(std::string(16, '\1'));
    pod->add_listeners(pb::LISTENER_OUTBOUND);
    return message;
  }
  std::vector<int> All() const { return {netns.get(), listener.get()}; }
};

inline pb::Rule NewRule(RuleId id, PodKey pod) {
  pb::Rule rule;
  rule.set_id(id);
  rule.set_pod(pod);
  const Ip address = *ParseIp("10.0.0.1");
  const std::string ip(address.bytes.begin(), address.bytes.end());
  rule.mutable_plain()->set_remote_ip(ip);
  rule.mutable_plain()->mutable_local()->set_ip(ip);
  rule.mutable_plain()->mutable_local()->set_port(80);
  pb::DirectTarget* const target = rule.add_targets()->mutable_direct();
  target->set_from(pod);
  target->mutable_to()->set_ip(ip);
  target->mutable_to()->set_port(80);
  rule.set_context("context");
  return rule;
}

inline const Question kPlain = PlainQuestion{{*ParseIp("10.0.0.1"), 40'000}, {*ParseIp("10.0.0.1"), 80}};

inline std::unique_ptr<TestFlow> Carrier::Ask(PodKey pod, const Question& question) {
  std::unique_ptr<TestFlow> flow;
  On(0, [&](WorkerThread& w) {
    flow = std::make_unique<TestFlow>(&w.decider(), pod);
    w.decider().Ask(flow.get(), question);
  });
  return flow;
}

inline void Carrier::AwaitNoAgent() {
  CHECK(Eventually([&] {
    bool has_agent = true;
    On(0, [&](WorkerThread& w) { has_agent = w.reports().has_agent(); });
    return !has_agent;
  }));
}

}  // namespace weft
