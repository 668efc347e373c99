// SPDX-License-Identifier: Apache-2.0
// The protocol over a real socket: control thread and workers as in the carrier, with pods that only record what they are asked to do.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "control/control.h"
#include "control/packet.h"
#include "net/test_sock_map.h"

using namespace weft;

namespace {

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
  uint64_t started_ms() const override { return WallMs(); }
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
    Fd listener = ListenForAgents(path, &why);
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
    socklen_t size = sizeof(cookie);
    REQUIRE(getsockopt(listener.get(), SOL_SOCKET, 71 /* SO_NETNS_COOKIE */, &cookie, &size) == 0);
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

pb::AgentMessage NewRule(RuleId id, PodKey pod) {
  pb::AgentMessage message;
  pb::Rule* const rule = message.mutable_rule();
  rule->set_id(id);
  rule->set_pod(pod);
  const Ip address = *ParseIp("10.0.0.1");
  const std::string ip(address.bytes.begin(), address.bytes.end());
  rule->mutable_plain()->set_remote_ip(ip);
  rule->mutable_plain()->mutable_local()->set_ip(ip);
  rule->mutable_plain()->mutable_local()->set_port(80);
  pb::DirectTarget* const target = rule->add_targets()->mutable_direct();
  target->set_from(pod);
  target->mutable_to()->set_ip(ip);
  target->mutable_to()->set_port(80);
  rule->set_context("context");
  return message;
}

const Question kPlain = PlainQuestion{{*ParseIp("10.0.0.1"), 40'000}, {*ParseIp("10.0.0.1"), 80}};

}  // namespace

TEST_CASE("hello: version and state") {
  Carrier carrier;
  Agent agent(carrier.path);
  const pb::State state = agent.Start();
  CHECK(agent.carrier.version() == 1);
  CHECK(agent.carrier.build() == "build");
  CHECK(agent.carrier.pid() == static_cast<uint32_t>(getpid()));
  CHECK_FALSE(agent.carrier.is_draining());
  CHECK(state.pods().empty());
}

TEST_CASE("an unknown version is answered and ended") {
  Carrier carrier;
  Agent agent(carrier.path);
  agent.Hello(2);
  const auto hello = agent.Next();
  REQUIRE(hello);
  CHECK(hello->hello().version() == 1);
  CHECK(agent.IsClosed());
}

TEST_CASE("what is malformed or unknown ends the connection and nothing else") {
  Carrier carrier;
  Agent good(carrier.path);
  good.Start();
  {
    Agent bad(carrier.path);
    bad.Raw("\xff\xff\xff nonsense");
    CHECK(bad.IsClosed());
  }
  {
    Agent bad(carrier.path);
    pb::AgentMessage lease;
    lease.mutable_lease()->set_for_ms(1000);
    bad.Send(lease);
    CHECK(bad.IsClosed());
  }
  {
    // A field of AgentMessage that does not exist: 100.
    Agent bad(carrier.path);
    bad.Start();
    bad.Raw(std::string("\x0a\x03\xa2\x06\x00", 5));
    CHECK(bad.IsClosed());
  }
  CHECK_FALSE(carrier.lease.IsValid());
  Agent next(carrier.path);
  next.Start();
}

TEST_CASE("a newer agent replaces the older one") {
  Carrier carrier;
  Agent older(carrier.path);
  older.Start();
  Agent newer(carrier.path);
  newer.Start();
  CHECK(older.IsClosed());
  pb::AgentMessage lease;
  lease.mutable_lease()->set_for_ms(60'000);
  newer.Send(lease);
  CHECK(Eventually([&] { return carrier.lease.IsValid(); }));
}

TEST_CASE("pods: descriptors, updates, state after reconnect, and their end") {
  Carrier carrier;
  Descriptors of_pod;
  {
    Agent agent(carrier.path);
    agent.Start();
    agent.Send(of_pod.Pod(), of_pod.All());
    CHECK(Eventually([&] {
      std::lock_guard lock(carrier.seen.mutex);
      return carrier.seen.netns.count(of_pod.cookie) == 2 && carrier.seen.listeners.contains({of_pod.cookie, 1});
    }));
    carrier.lease.Renew(60'000);
    pb::AgentMessage update = of_pod.Pod();
    update.mutable_pod()->set_identity("spiffe://d/ns/n/sa/other");
    agent.Send(update);
    CHECK(Eventually([&] {
      std::lock_guard lock(carrier.seen.mutex);
      return carrier.seen.pods[of_pod.cookie] == "spiffe://d/ns/n/sa/other";
    }));
  }
  Agent agent(carrier.path);
  const pb::State state = agent.Start();
  REQUIRE(state.pods_size() == 1);
  CHECK(state.pods(0).cookie() == of_pod.cookie);
  CHECK(state.pods(0).listeners_size() == 1);
  CHECK(state.pods(0).identity() == "spiffe://d/ns/n/sa/other");
  pb::AgentMessage gone;
  gone.mutable_pod_gone()->set_cookie(of_pod.cookie);
  gone.mutable_pod_gone()->set_grace_ms(10);
  agent.Send(gone);
  CHECK(Eventually([&] {
    std::lock_guard lock(carrier.seen.mutex);
    return carrier.seen.closed.contains(of_pod.cookie) && carrier.seen.forgotten.contains(of_pod.cookie);
  }));
}

TEST_CASE("without an agent the listeners close at the end of the lease, and a new agent opens others") {
  Carrier carrier;
  Descriptors of_pod;
  const auto listeners = [&] {
    std::lock_guard lock(carrier.seen.mutex);
    return carrier.seen.listeners.size();
  };
  carrier.lease.Renew(60'000);
  {
    Agent agent(carrier.path);
    agent.Start();
    agent.Send(of_pod.Pod(), of_pod.All());
    CHECK(Eventually([&] { return listeners() == 1; }));
    // As if the lease ended while the agent is there: its answers admit connections.
    carrier.lease.RenewUntil(0);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    CHECK(listeners() == 1);
    carrier.lease.Renew(400);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(listeners() == 1);
  CHECK(Eventually([&] { return listeners() == 0; }));
  CHECK_FALSE(carrier.lease.IsValid());
  Agent agent(carrier.path);
  const pb::State state = agent.Start();
  REQUIRE(state.pods_size() == 1);
  CHECK(state.pods(0).listeners().empty());
  Descriptors again;
  agent.Send(again.Pod(), again.All());
  CHECK(Eventually([&] { return listeners() == 1; }));
}

TEST_CASE("maps: only a map of sockets with rows of the stated layout") {
  Carrier carrier;
  const auto message = [](const SockLayout& layout) {
    pb::AgentMessage maps;
    pb::SockLayout* const sock = maps.mutable_maps()->mutable_sock();
    sock->set_row_bytes(layout.row_bytes);
    sock->set_kind(layout.kind);
    sock->set_ip(layout.ip);
    sock->set_port(layout.port);
    sock->set_chosen(layout.chosen);
    sock->set_chosen_port(layout.chosen_port);
    sock->set_dialed(layout.dialed);
    sock->set_own(layout.own);
    return maps;
  };
  const auto is_refused = [&](const pb::AgentMessage& maps, int descriptor) {
    Agent agent(carrier.path);
    agent.Start();
    agent.Send(maps, {descriptor});
    return agent.IsClosed();
  };
  const Fd map = MakeSockMap();
  const Descriptors of_pod;
  CHECK(is_refused(message(kTestLayout), of_pod.netns.get()));
  if (!map.valid()) return;
  SockLayout layout = kTestLayout;
  layout.row_bytes = 64;
  CHECK(is_refused(message(layout), map.get()));
  // An agent that states no layout.
  CHECK(is_refused(message(SockLayout{}), map.get()));
  Agent agent(carrier.path);
  agent.Start();
  agent.Send(message(kTestLayout), {map.get()});
  agent.Send(of_pod.Pod(), of_pod.All());
  CHECK(Eventually([&] {
    std::lock_guard lock(carrier.seen.mutex);
    return carrier.seen.listeners.size() == 1;
  }));
}

TEST_CASE("descriptors that are not what they should be") {
  Carrier carrier;
  Descriptors of_pod;
  Agent agent(carrier.path);
  agent.Start();
  // A pod that is not known, without descriptors.
  agent.Send(of_pod.Pod());
  CHECK(agent.Next()->log().level() == "error");
  // A listener in the place of the network namespace.
  agent.Send(of_pod.Pod(), {of_pod.listener.get(), of_pod.listener.get()});
  CHECK(agent.Next()->log().level() == "error");
  // A listener of another network namespace.
  pb::AgentMessage other = of_pod.Pod();
  other.mutable_pod()->set_cookie(of_pod.cookie + 1);
  agent.Send(other, of_pod.All());
  CHECK(agent.Next()->log().level() == "error");
  {
    std::lock_guard lock(carrier.seen.mutex);
    CHECK(carrier.seen.listeners.empty());
  }
  // One descriptor too few ends the connection.
  agent.Send(of_pod.Pod(), {of_pod.netns.get()});
  CHECK(agent.IsClosed());
  // More than any message has.
  Agent second(carrier.path);
  second.Start();
  second.Send(of_pod.Pod(), std::vector<int>(9, of_pod.netns.get()));
  CHECK(second.IsClosed());
  // Descriptors of a message that has none.
  Agent third(carrier.path);
  third.Start();
  pb::AgentMessage lease;
  lease.mutable_lease()->set_for_ms(60'000);
  third.Send(lease, {of_pod.netns.get()});
  CHECK(third.IsClosed());
  CHECK_FALSE(carrier.lease.IsValid());
}

TEST_CASE("questions, answers, a rule, its revocation, and the state that a new agent gets") {
  Carrier carrier(1);
  Descriptors of_pod;
  auto agent = std::make_unique<Agent>(carrier.path);
  agent->Start();
  agent->Send(of_pod.Pod(), of_pod.All());
  std::unique_ptr<TestFlow> asked, refused;
  carrier.On(0, [&](WorkerThread& w) {
    asked = std::make_unique<TestFlow>(&w.decider(), of_pod.cookie);
    w.decider().Ask(asked.get(), kPlain);
  });
  auto question = agent->Next();
  REQUIRE(question);
  REQUIRE(question->has_question());
  CHECK(question->question().flow() == asked->number);
  pb::AgentMessage answer;
  answer.mutable_answer()->set_flow(asked->number);
  *answer.mutable_answer()->mutable_rule() = NewRule(17, of_pod.cookie).rule();
  agent->Send(answer);
  auto opened = agent->Next();
  REQUIRE(opened);
  REQUIRE(opened->has_records());
  CHECK(static_cast<uint8_t>(opened->records().records().at(8)) == 17);
  CHECK(asked->is_permitted);

  carrier.On(0, [&](WorkerThread& w) {
    refused = std::make_unique<TestFlow>(&w.decider(), of_pod.cookie);
    w.decider().Ask(refused.get(), kPlain);
  });
  REQUIRE(agent->Next()->has_question());
  // A target of a kind that this carrier does not know: field 9.
  pb::Rule rule = NewRule(18, of_pod.cookie).rule();
  pb::AgentMessage unknown;
  unknown.mutable_answer()->set_flow(refused->number);
  REQUIRE(unknown.mutable_answer()->mutable_rule()->ParseFromString(rule.SerializeAsString() + std::string("\x3a\x02\x4a\x00", 4)));
  agent->Send(unknown);
  std::multiset<int> kinds = {agent->Next()->kind_case(), agent->Next()->kind_case()};
  CHECK(kinds == std::multiset<int>{pb::CarrierMessage::kLog, pb::CarrierMessage::kRuleEnded});
  carrier.On(0, [](WorkerThread&) {});
  CHECK_FALSE(refused->is_permitted);

  agent = std::make_unique<Agent>(carrier.path);
  const pb::State state = agent->Start();
  CHECK(agent->carrier.last_rule() == 18);
  REQUIRE(state.rules_size() == 1);
  CHECK(state.rules(0).context() == "context");
  REQUIRE(state.flows_size() == 1);
  CHECK(state.flows(0).rule() == 17);
  CHECK(state.flows(0).bytes_received() == 2);

  pb::AgentMessage list;
  list.mutable_list_flows()->set_call(3);
  agent->Send(list);
  CHECK(agent->Next()->flows().flows_size() == 1);
  CHECK(agent->Next()->flows().is_last());

  pb::AgentMessage revoke;
  revoke.mutable_revoke()->set_call(4);
  revoke.mutable_revoke()->add_rules(17);
  revoke.mutable_revoke()->set_cut(true);
  revoke.mutable_revoke()->set_reason("policy");
  agent->Send(revoke);
  const auto closed = agent->Next();
  REQUIRE(closed->has_closed());
  CHECK(closed->closed().reason() == "policy");
  CHECK(closed->closed().ended() == pb::ENDED_CUT);
  CHECK(agent->Next()->rule_ended().rule() == 17);
  const auto done = agent->Next();
  CHECK(done->done().call() == 4);
  CHECK(done->done().cut() == 1);
}

TEST_CASE("ends of flows without an agent come after the state, with their rule in it") {
  Carrier carrier(1);
  Descriptors of_pod;
  std::unique_ptr<TestFlow> flow;
  {
    Agent agent(carrier.path);
    agent.Start();
    agent.Send(of_pod.Pod(), of_pod.All());
    agent.Send(NewRule(17, of_pod.cookie));
    pb::AgentMessage lease;
    lease.mutable_lease()->set_for_ms(60'000);
    agent.Send(lease);
    CHECK(Eventually([&] { return carrier.lease.IsValid(); }));
    carrier.On(0, [&](WorkerThread& w) {
      flow = std::make_unique<TestFlow>(&w.decider(), of_pod.cookie);
      w.decider().Ask(flow.get(), kPlain);
    });
    CHECK(agent.Next()->has_records());
  }
  CHECK(Eventually([&] {
    bool has_agent = true;
    carrier.On(0, [&](WorkerThread& w) { has_agent = w.reports().has_agent(); });
    return !has_agent;
  }));
  carrier.On(0, [&](WorkerThread& w) {
    w.decider().Closed(flow.get(), Ended::kFinished, "");
    w.decider().Revoke({17}, false, "");
  });
  Agent agent(carrier.path);
  const pb::State state = agent.Start();
  REQUIRE(state.rules_size() == 1);
  CHECK(state.rules(0).id() == 17);
  REQUIRE(state.flows_size() == 1);
  CHECK(state.flows(0).id() == flow->number);
  CHECK_FALSE(state.flows(0).is_opening());
  CHECK(agent.Next()->records().records().at(60) == 2);
  CHECK(agent.Next()->rule_ended().rule() == 17);
}

TEST_CASE("10 000 flows of one revoked rule end within 200 ms, and State holds them before") {
  Carrier carrier(1);
  Descriptors of_pod;
  Agent first(carrier.path);
  first.Start();
  first.Send(of_pod.Pod(), of_pod.All());
  first.Send(NewRule(17, of_pod.cookie));
  pb::AgentMessage lease;
  lease.mutable_lease()->set_for_ms(60'000);
  first.Send(lease);
  CHECK(Eventually([&] { return carrier.lease.IsValid(); }));
  std::vector<std::unique_ptr<TestFlow>> flows;
  carrier.On(0, [&](WorkerThread& w) {
    for (int i = 0; i < 10'000; i++) {
      flows.push_back(std::make_unique<TestFlow>(&w.decider(), of_pod.cookie));
      w.decider().Ask(flows.back().get(), kPlain);
    }
  });
  Agent agent(carrier.path);
  CHECK(agent.Start().flows_size() == 10'000);
  pb::AgentMessage revoke;
  revoke.mutable_revoke()->set_call(4);
  revoke.mutable_revoke()->add_rules(17);
  revoke.mutable_revoke()->set_cut(true);
  const uint64_t began = BootMs();
  agent.Send(revoke);
  int closed = 0;
  for (;;) {
    const auto message = agent.Next();
    REQUIRE(message);
    closed += message->has_closed() + static_cast<int>(message->records().records().size() / Reports::kRecordBytes);
    if (message->has_done()) {
      CHECK(message->done().cut() == 10'000);
      break;
    }
  }
  CHECK(closed == 10'000);
  const uint64_t took = BootMs() - began;
  MESSAGE("10 000 flows cut and reported in " << took << " ms");
  CHECK(took < 200 * WEFT_SLOWDOWN);
}

TEST_CASE("keys: a request for each turn, and a certificate that does not fit is not used") {
  Carrier carrier;
  Agent agent(carrier.path);
  agent.Start();
  pb::AgentMessage identities;
  identities.mutable_identities()->add_wanted("spiffe://d/ns/n/sa/s");
  identities.mutable_identities()->set_trust_domain("d");
  agent.Send(identities);
  pb::AgentMessage wanted;
  wanted.mutable_key_wanted()->set_identity("spiffe://d/ns/n/sa/s");
  wanted.mutable_key_wanted()->set_turn(1);
  agent.Send(wanted);
  const auto made = agent.Next();
  REQUIRE(made->has_key_made());
  CHECK(made->key_made().csr_pem().starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
  pb::AgentMessage certificate;
  certificate.mutable_certificate()->set_identity("spiffe://d/ns/n/sa/s");
  certificate.mutable_certificate()->set_turn(1);
  certificate.mutable_certificate()->set_chain_pem("nonsense");
  agent.Send(certificate);
  CHECK(agent.Next()->log().level() == "error");
}

TEST_CASE("draining ends when the last flow has ended") {
  Carrier carrier;
  Descriptors of_pod;
  Agent agent(carrier.path);
  agent.Start();
  pb::AgentMessage drain;
  drain.mutable_drain()->set_grace_ms(3'600'000);
  agent.Send(drain);
  CHECK(agent.Next()->has_log());
  // No more pods.
  agent.Send(of_pod.Pod(), of_pod.All());
  CHECK(agent.Next()->log().level() == "warn");
  CHECK(Eventually([&] { return carrier.has_ended.load(); }));
  std::lock_guard lock(carrier.seen.mutex);
  CHECK(carrier.seen.drains == 2);
}

static int DrainsOf(Carrier& carrier) {
  std::lock_guard lock(carrier.seen.mutex);
  return carrier.seen.drains;
}

TEST_CASE("a carrier that somebody ends serves until its agent has a newer one") {
  Carrier carrier;
  Agent agent(carrier.path);
  agent.Start();
  carrier.loop.Post([&] { carrier.control->Retire(60'000); });
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  CHECK(DrainsOf(carrier) == 0);
  CHECK_FALSE(carrier.has_ended);
  pb::AgentMessage drain;
  drain.mutable_drain()->set_grace_ms(3'600'000);
  agent.Send(drain);
  CHECK(Eventually([&] { return DrainsOf(carrier) == 2 && carrier.has_ended; }));
}

TEST_CASE("a carrier that somebody ends drains without an agent once its lease is over") {
  Carrier carrier;
  carrier.lease.Renew(600);
  carrier.loop.Post([&] { carrier.control->Retire(60'000); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(DrainsOf(carrier) == 0);
  CHECK(Eventually([&] { return DrainsOf(carrier) == 2 && carrier.has_ended; }));
}

TEST_CASE("a carrier that somebody ends drains at once without a grace period") {
  Carrier carrier;
  Agent agent(carrier.path);
  agent.Start();
  carrier.loop.Post([&] { carrier.control->Retire(0); });
  CHECK(Eventually([&] { return DrainsOf(carrier) == 2 && carrier.has_ended; }));
}

TEST_CASE("an agent gets in when no descriptor is free") {
  Carrier carrier;
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, carrier.path.c_str(), sizeof(address.sun_path) - 1);
  rlimit former{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &former) == 0);
  rlimit low = former;
  low.rlim_cur = 256;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
  std::vector<Fd> taken;
  for (;;) {
    Fd copy(dup(socket.get()));
    if (!copy.valid()) break;
    taken.push_back(std::move(copy));
  }
  REQUIRE(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  Agent agent(std::move(socket));
  agent.Start();
  CHECK(agent.carrier.version() == 1);
  taken.clear();
  setrlimit(RLIMIT_NOFILE, &former);
}
