// SPDX-License-Identifier: Apache-2.0
// The pool against the server, over loopback, with sockets of a broker.
#include <doctest/doctest.h>
#include <fcntl.h>

#include "base/netns.h"
#include "http2/limits.h"
#include "http2/tunnel_pool.h"
#include "http2/tunnel_server.h"
#include "net/app_socket.h"
#include "net/broker.h"
#include "net/broker_client.h"
#include "net/test_sock_map.h"
#include "net/test_sockets.h"
#include "relay/relay.h"
#include "relay/test_worker.h"
#include "tls/test_ca.h"

using namespace weft;

namespace {
struct RefusingDecider : FakeDecider {
  void Refused(PodKey, const char* code, const std::string& why, const Address&, const std::string& peer) override {
    codes.push_back(code);
    reasons.push_back(why);
    peers.push_back(peer);
  }
  std::vector<std::string> codes, reasons, peers;
};

// Hands accepted connections to the server.
struct Acceptor : Pollable {
  void OnReady(uint32_t) override {
    for (;;) {
      sockaddr_storage from, to;
      socklen_t bytes = sizeof(from);
      Fd socket(accept4(listener.get(), reinterpret_cast<sockaddr*>(&from), &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!socket.valid()) return;
      bytes = sizeof(to);
      getsockname(socket.get(), reinterpret_cast<sockaddr*>(&to), &bytes);
      accepted++;
      if (server) server->Accept(std::move(socket), FromSockaddr(from), FromSockaddr(to));
    }
  }
  Fd listener;
  TunnelServer* server = nullptr;
  int accepted = 0;
};

struct Result {
  std::unique_ptr<TunnelPool::Request> request;
  std::unique_ptr<TunnelStream> stream;
  Failure failure;
  bool is_done = false;
};

struct Fixture {
  Fixture() {
    CurrentTunnelLimits() = TunnelLimits{};
    sock_map.Use(MakeSockMap(), kTestLayout);
    const Fd probe(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    client.cookie = NetnsCookie(probe.get());
    sockets.AddPod(client.cookie, Fd(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)));
    credentials.Keep({kClient, kServer}, kDomain);
    CHECK(ca.Issue(&credentials, kClient));
    CHECK(ca.Issue(&credentials, kServer));
    pool.Begin(&worker);
    client.identity = kClient;
    here.cookie = client.cookie + 1;
    here.identity = kServer;
    shares = MakeTunnelServerLimits();
    server = std::make_unique<TunnelServer>(&worker, &here, shares.get(), [this](auto tunnel) {
      questions.push_back(tunnel->TakeQuestion());
      if (refuses != 0) return tunnel->Refuse(refuses);
      if (holds) return void(held.push_back(std::move(tunnel)));
      accepted.push_back(tunnel->Accept());
    });
    acceptor.listener = ListenOnLoopback(&target.next);
    fcntl(acceptor.listener.get(), F_SETFL, O_NONBLOCK);
    acceptor.server = server.get();
    loop.Add(acceptor.listener.get(), &acceptor, EPOLLIN);
    target.authority = "10.1.2.3:80";
    target.expected = {kServer};
    target.baggage = "k8s.pod.name=x";
  }
  ~Fixture() {
    accepted.clear();
    held.clear();
    loop.Remove(acceptor.listener.get(), &acceptor);
    CurrentTunnelLimits() = TunnelLimits{};
  }
  std::unique_ptr<Result> Open() {
    auto result = std::make_unique<Result>();
    Result* const raw = result.get();
    result->request = pool.Open(client, target, *ParseAddress("10.9.9.9:1234"), [raw](auto stream, const Failure& failure) {
      raw->stream = std::move(stream);
      raw->failure = failure;
      raw->is_done = true;
    });
    CHECK(!raw->is_done);
    return result;
  }
  std::unique_ptr<Result> OpenAndWait() {
    auto result = Open();
    CHECK(RunUntil(&loop, [&] { return result->is_done; }));
    return result;
  }

  Loop loop;
  RefusingDecider decider;
  Ca ca;
  Credentials credentials;
  SockMap sock_map;
  std::string why;
  std::unique_ptr<BrokerProcess> broker = BrokerProcess::Start(1, &why);
  BrokerClient broker_client{&loop, broker->TakeChannel(0), [] {}};
  PodSockets sockets{&loop, &broker_client};
  const Limits limits;
  TunnelPool pool;
  Worker worker{loop, decider, sockets, sock_map, credentials, pool, limits};
  Pod client, here;
  std::shared_ptr<TunnelServerLimits> shares;
  Acceptor acceptor;
  std::unique_ptr<TunnelServer> server;
  TunnelTarget target;
  std::vector<TunnelQuestion> questions;
  std::vector<std::unique_ptr<TunnelStream>> accepted;
  std::vector<std::unique_ptr<IncomingTunnel>> held;
  uint32_t refuses = 0;
  bool holds = false;
};
}  // namespace

TEST_CASE_FIXTURE(Fixture, "tunnels of one source and destination share a connection") {
  const auto first = OpenAndWait();
  CHECK(first->failure.why == "");
  REQUIRE(first->stream);
  const auto second = OpenAndWait();
  REQUIRE(second->stream);
  CHECK(acceptor.accepted == 1);
  CHECK(pool.connections() == 1);
  CHECK(server->connections() == 1);
  REQUIRE(questions.size() == 2);
  CHECK(questions[0].peer == kClient);
  CHECK(questions[0].authority.Text() == "10.1.2.3:80");
  CHECK(questions[0].forwarded == "for=\"10.9.9.9:1234\"");
  CHECK(questions[0].baggage == "k8s.pod.name=x");
  CHECK(questions[0].local == target.next);
  // A hundred tunnels fill a connection.
  std::vector<std::unique_ptr<Result>> all;
  for (int i = 0; i < 100; i++) all.push_back(Open());
  CHECK(RunUntil(&loop, [&] {
    return std::all_of(all.begin(), all.end(), [](const auto& one) { return one->is_done; });
  }));
  CHECK(pool.connections() == 2);
}

TEST_CASE_FIXTURE(Fixture, "concurrent requests share the connection that is being opened") {
  std::vector<std::unique_ptr<Result>> all;
  for (int i = 0; i < 5; i++) all.push_back(Open());
  all.erase(all.begin());  // canceled
  CHECK(RunUntil(&loop, [&] {
    return std::all_of(all.begin(), all.end(), [](const auto& one) { return one->stream != nullptr; });
  }));
  CHECK(acceptor.accepted == 1);
}

TEST_CASE_FIXTURE(Fixture, "failures have their stage") {
  SUBCASE("refused by the peer") {
    refuses = 401;
    const auto result = OpenAndWait();
    CHECK(result->failure.stage == Stage::kTunnelRefused);
    CHECK(result->failure.status == 401);
    CHECK(result->failure.why == "the peer responded 401 to CONNECT 10.1.2.3:80");
  }
  SUBCASE("another identity") {
    target.expected = {"spiffe://cluster.local/ns/b/sa/other"};
    const auto result = OpenAndWait();
    CHECK(result->failure.stage == Stage::kTunnelIdentity);
    CHECK(result->failure.why.find(std::string("the peer is ") + kServer + ", expected spiffe://") != std::string::npos);
    CHECK(questions.empty());
    CHECK(pool.connections() == 0);
  }
  SUBCASE("no identity is expected") {
    target.expected = {};
    CHECK(OpenAndWait()->failure.stage == Stage::kTunnelIdentity);
  }
  SUBCASE("no listener") {
    target.next.port = 1;
    const auto result = OpenAndWait();
    CHECK(result->failure.stage == Stage::kTunnelConnect);
    CHECK(result->failure.error == ECONNREFUSED);
    CHECK(result->failure.why.find("ECONNREFUSED") != std::string::npos);
  }
  SUBCASE("no such pod") {
    client.cookie += 77;
    const auto result = OpenAndWait();
    CHECK(result->failure.stage == Stage::kTunnelConnect);
    CHECK(result->failure.error == ESTALE);
  }
  SUBCASE("the server has no certificate") {
    here.identity = "spiffe://cluster.local/ns/b/sa/none";
    CHECK(OpenAndWait()->failure.stage == Stage::kTunnelTls);
  }
  SUBCASE("no response in time") {
    CurrentTunnelLimits().response_timeout_ms_max = 50;
    holds = true;
    const auto result = OpenAndWait();
    CHECK(result->failure.stage == Stage::kTunnelTimeout);
  }
  SUBCASE("reset before the response") {
    holds = true;
    const auto result = Open();
    CHECK(RunUntil(&loop, [&] { return held.size() == 1; }));
    held.clear();
    CHECK(RunUntil(&loop, [&] { return result->is_done; }));
    CHECK(result->failure.stage == Stage::kTunnelReset);
  }
  SUBCASE("no certificate in time, and one in time") {
    CurrentTunnelLimits().certificate_wait_ms_max = 50;
    client.identity = "spiffe://cluster.local/ns/a/sa/new";
    const auto result = OpenAndWait();
    CHECK(result->failure.stage == Stage::kNoCertificate);
    CurrentTunnelLimits().certificate_wait_ms_max = 5000;
    const auto later = Open();
    loop.RunOnce(0);
    CHECK(ca.Issue(&credentials, client.identity));
    pool.Update(client.identity);
    CHECK(RunUntil(&loop, [&] { return later->is_done; }));
    CHECK(later->stream);
  }
}

TEST_CASE_FIXTURE(Fixture, "refusals of the server are reported") {
  SUBCASE("another trust domain") {
    credentials.Keep({kClient, kServer}, "other.domain");
    CHECK(!OpenAndWait()->stream);
    REQUIRE(decider.codes.size() == 1);
    CHECK(decider.codes[0] == "WEFT_HBONE_IDENTITY");
    CHECK(decider.reasons[0] == std::string(kClient) + " is not of trust domain other.domain");
  }
  SUBCASE("an authority that is no address") {
    target.authority = "example.com:80";
    CHECK(OpenAndWait()->failure.status == 400);
    CHECK(decider.codes.at(0) == "WEFT_HBONE_REQUEST");
    CHECK(decider.peers.at(0) == kClient);
  }
  SUBCASE("no TLS") {
    const Fd raw = ConnectTo(target.next);
    SendAll(raw, "GET / HTTP/1.1\r\n\r\n");
    CHECK(RunUntil(&loop, [&] { return !decider.codes.empty(); }));
    CHECK(decider.codes[0] == "WEFT_HBONE_TLS");
    CHECK(server->connections() == 0);
  }
  SUBCASE("too many handshakes of one address") {
    CurrentTunnelLimits().handshakes_max = 20;
    const auto few = MakeTunnelServerLimits();
    TunnelServer small(&worker, &here, few.get(), [](auto) {});
    acceptor.server = &small;
    std::vector<Fd> raw;
    for (int i = 0; i < 30; i++) raw.push_back(ConnectTo(target.next));
    CHECK(RunUntil(&loop, [&] { return acceptor.accepted == 30; }));
    CHECK(small.connections() == 10);
    CHECK(decider.limits.size() == 20);
    CHECK(decider.limits.at(0) == "handshakes");
    raw.clear();
    CHECK(RunUntil(&loop, [&] { return small.connections() == 0; }));
  }
  SUBCASE("the peer's certificate has expired") {
    CHECK(ca.Issue(&credentials, kClient, 2, 2));
    const auto first = OpenAndWait();
    REQUIRE(first->stream);
    RunFor(&loop, 2500);
    CHECK(ca.Issue(&credentials, kClient, 2, 3600));
    const auto second = OpenAndWait();
    CHECK(second->failure.status == 401);
    CHECK(decider.codes.at(0) == "WEFT_HBONE_IDENTITY");
  }
}

TEST_CASE_FIXTURE(Fixture, "a request that the peer did not process is repeated on another connection") {
  const auto first = OpenAndWait();
  REQUIRE(first->stream);
  holds = true;
  const auto second = Open();
  CHECK(RunUntil(&loop, [&] { return held.size() == 1; }));
  holds = false;
  // The connection ends with the request under way: it was used before, so the request goes elsewhere.
  server.reset();
  held.clear();
  accepted.clear();
  server = std::make_unique<TunnelServer>(&worker, &here, shares.get(), [this](auto tunnel) { accepted.push_back(tunnel->Accept()); });
  acceptor.server = server.get();
  CHECK(RunUntil(&loop, [&] { return second->is_done; }));
  CHECK(second->stream);
  CHECK(acceptor.accepted == 2);
}

TEST_CASE_FIXTURE(Fixture, "a renewal, a drain and the end of a pod retire connections") {
  const auto first = OpenAndWait();
  SUBCASE("a new certificate") {
    CHECK(ca.Issue(&credentials, kClient, 2));
    pool.Update(kClient);
    const auto second = OpenAndWait();
    CHECK(pool.connections() == 2);
    first->stream.reset();
    CHECK(RunUntil(&loop, [&] { return pool.connections() == 1; }));
  }
  SUBCASE("the pod is gone") {
    pool.Forget(client.cookie);
    CHECK(pool.connections() == 1);
    first->stream.reset();
    CHECK(RunUntil(&loop, [&] { return pool.connections() == 0; }));
  }
  SUBCASE("the server drains") {
    server->Drain();
    RunFor(&loop, 100);
    const auto second = OpenAndWait();
    CHECK(second->stream);
    CHECK(pool.connections() == 2);
    first->stream.reset();
    accepted[0].reset();
    CHECK(RunUntil(&loop, [&] { return pool.connections() == 1; }));
  }
  SUBCASE("idle") {
    CurrentTunnelLimits().idle_connection_ms_max = 50;
    first->stream.reset();
    CHECK(RunUntil(&loop, [&] { return pool.connections() == 0 && server->connections() == 0; }));
  }
}

TEST_CASE_FIXTURE(Fixture, "tunnels to a waypoint spread over connections") {
  target.spread = true;
  std::vector<std::unique_ptr<Result>> all;
  for (int i = 0; i < 60; i++) all.push_back(OpenAndWait());
  CHECK(pool.connections() == 4);
  for (const auto& one : all) CHECK(one->stream);
}

TEST_CASE_FIXTURE(Fixture, "a connection whose peer does not answer PING ends") {
  CurrentTunnelLimits().ping_interval_ms = 50;
  CurrentTunnelLimits().ping_timeout_ms_max = 100;
  const auto first = OpenAndWait();
  RunFor(&loop, 400);
  CHECK(pool.connections() == 1);
  CHECK(server->connections() == 1);
}
