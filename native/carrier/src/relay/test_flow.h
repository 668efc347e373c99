// SPDX-License-Identifier: Apache-2.0
// A worker with real sockets and a broker, for the tests of flows. The parts of tunnels are replaced here, so one test program includes it.
#pragma once

#include "relay/flow.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "base/netns.h"
#include "net/broker.h"
#include "net/broker_client.h"
#include "net/test_sock_map.h"
#include "net/test_sockets.h"
#include "relay/pod_listeners.h"
#include "relay/test_worker.h"
#include "tls/credentials.h"

namespace weft {

namespace {
struct FakeStream : TunnelStream {
  void Start(TunnelStreamUser*) override {}
  void Wake() override {}
  void Consume(size_t) override {}
  void Reset(uint32_t) override {}
  bool is_finished() const override { return true; }
  bool may_linger() const override { return true; }
};

struct FakePool {
  TunnelPool::OnTunnel on_tunnel;
  int opened = 0, canceled = 0;
} pool;
struct FakeRequest : TunnelPool::Request {
  ~FakeRequest() override { pool.canceled++; }
};

struct FakeRelay : Relay {
  FakeRelay(std::unique_ptr<AppSocket> pod, std::unique_ptr<TunnelStream> stream, RelayOwner* owner)
      : pod(std::move(pod)), stream(std::move(stream)), owner(owner) {
    latest = this;
  }
  ~FakeRelay() override { latest = nullptr; }
  uint64_t bytes_sent() const override { return 11; }
  uint64_t bytes_received() const override { return 22; }
  void Cut() override {
    pod->Reset();
    owner->OnRelayEnded(Ended::kCut);
  }
  std::unique_ptr<AppSocket> pod;
  std::unique_ptr<TunnelStream> stream;
  RelayOwner* owner;
  static FakeRelay* latest;
};
FakeRelay* FakeRelay::latest = nullptr;

struct Server {
  TunnelServer::OnTunnel on_tunnel;
  int accepted = 0, drained = 0;
  Address local;
} server;

struct FakeTunnel : IncomingTunnel {
  struct Seen {
    uint32_t refused = 0;
    int accepted = 0;
    std::function<void()> on_gone;
    bool is_gone = false, is_destroyed = false;
  };
  FakeTunnel(TunnelQuestion question, Seen* seen) : about(std::move(question)), seen(seen) {}
  ~FakeTunnel() override { seen->is_destroyed = true; }
  TunnelQuestion TakeQuestion() override { return std::exchange(about, {}); }
  std::unique_ptr<TunnelStream> Accept() override {
    seen->accepted++;
    if (seen->is_gone) return nullptr;
    return std::make_unique<FakeStream>();
  }
  void Refuse(uint32_t status) override { seen->refused = status; }
  void OnGone(std::function<void()> call) override { seen->on_gone = std::move(call); }
  TunnelQuestion about;
  Seen* seen;
};
}  // namespace

struct TunnelPool::Impl {};
TunnelPool::TunnelPool() = default;
TunnelPool::~TunnelPool() = default;
std::unique_ptr<TunnelPool::Request> TunnelPool::Open(const Pod&, const TunnelTarget&, const Address&, OnTunnel on_tunnel) {
  pool.opened++;
  pool.on_tunnel = std::move(on_tunnel);
  return std::make_unique<FakeRequest>();
}
struct TunnelServer::Impl {};
TunnelServer::TunnelServer(Worker*, const Pod*, TunnelServerLimits*, OnTunnel on_tunnel) { server.on_tunnel = std::move(on_tunnel); }
TunnelServer::~TunnelServer() = default;
void TunnelServer::Accept(Fd, const Address&, const Address& local) {
  server.accepted++;
  server.local = local;
}
void TunnelServer::Drain() { server.drained++; }
size_t TunnelServer::connections() const { return 0; }
std::unique_ptr<Relay> RelayTunnel(Worker*, std::unique_ptr<AppSocket> pod, std::unique_ptr<TunnelStream> stream, RelayOwner* owner, HttpWatch*) {
  return std::make_unique<FakeRelay>(std::move(pod), std::move(stream), owner);
}

namespace {

uint64_t OwnCookie() { return NetnsCookie(Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)).get()); }

struct Fixture {
  Fixture() {
    pool = {};
    server = {};
    std::string why;
    broker = BrokerProcess::Start(1, &why);
    REQUIRE_MESSAGE(broker, why);
    client = std::make_unique<BrokerClient>(&loop, broker->TakeChannel(0), [] {});
    sockets = std::make_unique<PodSockets>(&loop, client.get());
    pod.cookie = OwnCookie();
    pod.addresses = {*ParseIp("127.0.0.1")};
    sockets->AddPod(pod.cookie, Fd(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)));
    Fd map_fd = MakeSockMap();
    has_map = map_fd.valid();
    if (has_map) map.Use(std::move(map_fd), kTestLayout);
    worker = std::make_unique<Worker>(Worker{loop, decider, *sockets, map, Unused<Credentials>(), tunnels, limits});
    listeners = std::make_unique<PodListeners>(worker.get(), &pod, nullptr);
    app = ListenOnLoopback(&app_address);
    decider.on_ask = [this](Decided* flow) {
      if (decides) Decide(flow, direct());
    };
  }
  Address Listen(ListenerKind kind) {
    Address address;
    Fd listener = ListenOnLoopback(&address);
    CHECK(listeners->Listen(kind, std::move(listener)));
    return address;
  }
  Target direct() const { return DirectTarget{pod.cookie, app_address, true, {}}; }
  static void Decide(Decided* flow, Target target) {
    auto rule = std::make_shared<Rule>();
    rule->targets.push_back(std::move(target));
    flow->OnDecision({rule, 0, 0});
  }
  bool Until(const std::function<bool()>& done) { return RunUntil(&loop, done); }
  std::string Read(const Fd& from) {
    std::string text;
    Until([&] {
      text += ReceiveNow(from);
      return text.ends_with('>');
    });
    return text;
  }
  Fd AcceptApp() {
    Fd accepted;
    fcntl(app.get(), F_SETFL, O_NONBLOCK);
    Until([&] {
      accepted = Fd(accept4(app.get(), nullptr, nullptr, SOCK_CLOEXEC));
      return accepted.valid();
    });
    fcntl(accepted.get(), F_SETFL, 0);
    LimitTime(accepted.get());
    return accepted;
  }
  // Nothing is left of the flows, and each was reported once.
  void CheckOver(int flows) {
    CHECK(Until([&] { return listeners->flows() == 0; }));
    CHECK(worker->flows == 0);
    CHECK(decider.closed + decider.canceled == flows);
  }

  // Of tunnels whose flows the loop destroys last.
  FakeTunnel::Seen seen;
  Loop loop;
  Limits limits;
  FakeDecider decider;
  SockMap map;
  TunnelPool tunnels;
  Pod pod;
  std::unique_ptr<BrokerProcess> broker;
  std::unique_ptr<BrokerClient> client;
  std::unique_ptr<PodSockets> sockets;
  std::unique_ptr<Worker> worker;
  std::unique_ptr<PodListeners> listeners;
  Fd app;
  Address app_address;
  bool has_map = false, decides = true;
};

}  // namespace
}  // namespace weft
