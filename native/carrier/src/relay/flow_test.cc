// SPDX-License-Identifier: Apache-2.0
// Flows from accept() to their end, with real sockets and a broker.
#include "relay/test_flow.h"

namespace weft {
namespace {

TEST_CASE_FIXTURE(Fixture, "a captured connection to a local pod, from accept to its end") {
  if (!has_map) return;
  const Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
  Fd accepted = AcceptApp();
  CHECK(decider.asked == 1);
  CHECK(Until([&] { return decider.opened == 1; }));
  CHECK(std::get<CapturedQuestion>(decider.question).dialed.port == 0);
  CHECK(SendAll(peer, "request"));
  CHECK(SendAll(accepted, "response"));
  accepted.Close();
  CHECK(Read(peer) == "response<end>");
  shutdown(peer.get(), SHUT_WR);
  CheckOver(1);
  CHECK(decider.closed == 1);
  CHECK(decider.bytes_sent == 7);
  CHECK(decider.bytes_received == 8);
}

TEST_CASE_FIXTURE(Fixture, "an inbound plaintext connection") {
  if (!has_map) return;
  const Address address = Listen(ListenerKind::kInbound);
  const Fd peer = ConnectTo(address);
  const Fd accepted = AcceptApp();
  CHECK(std::get<PlainQuestion>(decider.question).local == address);
  CHECK(SendAll(peer, "request"));
  shutdown(peer.get(), SHUT_WR);
  CHECK(Read(accepted) == "request<end>");
  shutdown(accepted.get(), SHUT_WR);
  CheckOver(1);
  CHECK(decider.ended == Ended::kFinished);
}

TEST_CASE_FIXTURE(Fixture, "requests of a flow are seen if its rule says so, whichever side the client is on") {
  if (!has_map) return;
  bool observe = true;
  ListenerKind kind = ListenerKind::kOutbound;
  std::vector<std::string> expected = {"GET /orders/* 404", "GET /gone 0"};
  SUBCASE("captured") {}
  SUBCASE("plaintext") { kind = ListenerKind::kInbound; }
  SUBCASE("not observed") { observe = false, expected = {}; }
  decider.on_ask = [&](Decided* flow) {
    auto rule = std::make_shared<Rule>();
    rule->targets.push_back(direct());
    rule->observe = observe;
    flow->OnDecision({rule, 0, 0});
  };
  const Fd peer = ConnectTo(Listen(kind));
  const Fd accepted = AcceptApp();
  CHECK(SendAll(peer, "GET /orders/17 HTTP/1.1\r\n\r\nGET /gone HTTP/1.1\r\n\r\n"));
  shutdown(peer.get(), SHUT_WR);
  CHECK(Read(accepted).ends_with("<end>"));
  CHECK(SendAll(accepted, "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"));
  shutdown(accepted.get(), SHUT_WR);
  CHECK(Read(peer).ends_with("<end>"));
  CheckOver(1);
  CHECK(decider.seen_requests == expected);
}

// The agent may have learned of an address between the question and its answer. Of a flow that opens it expects the client.
TEST_CASE_FIXTURE(Fixture, "a captured connection of a pod without an address of the family does not open, whatever its target") {
  pod.addresses.clear();
  DirectTarget target = std::get<DirectTarget>(direct());
  SUBCASE("in plaintext, which shows no client") { target.show_client = false; }
  SUBCASE("to a local pod, with the client that the agent states") { target.client = {*ParseIp("127.0.0.1"), 5}; }
  decider.on_ask = [&](Decided* flow) { Decide(flow, target); };
  const Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
  CHECK(Read(peer) == "<reset>");
  CheckOver(1);
  CHECK(decider.opened == 0);
  CHECK(decider.ended == Ended::kRefused);
  CHECK(decider.reason == "the pod has no address of the family that was dialed");
}

TEST_CASE_FIXTURE(Fixture, "a refused connection is reset, and its flow canceled") {
  decides = false;
  const Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
  CHECK(Until([&] { return decider.asked == 1; }));
  decider.flow->OnDecision({nullptr, 0, 0});
  CHECK(Read(peer) == "<reset>");
  CheckOver(1);
  CHECK(decider.canceled == 1);
}

TEST_CASE_FIXTURE(Fixture, "a client that leaves while the agent decides cancels its flow; one that only ends its direction does not") {
  decides = false;
  const Address address = Listen(ListenerKind::kOutbound);
  Fd peer = ConnectTo(address);
  CHECK(Until([&] { return decider.asked == 1; }));
  shutdown(peer.get(), SHUT_WR);
  RunFor(&loop, 10);
  CHECK(decider.canceled == 0);
  ResetNow(&peer);
  CheckOver(1);
  CHECK(decider.canceled == 1);
}

TEST_CASE_FIXTURE(Fixture, "what a client sent before its reset is delivered") {
  if (!has_map) return;
  decides = false;
  Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
  CHECK(Until([&] { return decider.asked == 1; }));
  CHECK(SendAll(peer, "data"));
  ResetNow(&peer);
  RunFor(&loop, 10);
  CHECK(decider.canceled == 0);
  Decide(decider.flow, direct());
  const Fd accepted = AcceptApp();
  CHECK(Read(accepted) == "data<reset>");
  CheckOver(1);
  CHECK(decider.ended == Ended::kPodReset);
}

TEST_CASE_FIXTURE(Fixture, "a target that refuses is a failure, and the next decision may name another") {
  if (!has_map) return;
  Address closed;
  ListenOnLoopback(&closed).Close();
  decider.on_ask = [&](Decided* flow) { Decide(flow, DirectTarget{pod.cookie, closed, true, {}}); };
  const Address address = Listen(ListenerKind::kOutbound);
  const Fd peer = ConnectTo(address);
  SUBCASE("another target") {
    decider.on_failed = [&](Decided* flow) { Decide(flow, direct()); };
    const Fd accepted = AcceptApp();
    CHECK(SendAll(peer, "late"));
    shutdown(peer.get(), SHUT_WR);
    CHECK(Read(accepted) == "late<end>");
    shutdown(accepted.get(), SHUT_WR);
    CheckOver(1);
    CHECK(decider.ended == Ended::kFinished);
  }
  SUBCASE("refused") {
    decider.on_failed = [&](Decided* flow) { flow->OnDecision({nullptr, 0, 503}); };
    CHECK(Read(peer) == "<reset>");
    CheckOver(1);
    CHECK(decider.canceled == 1);
  }
  REQUIRE(decider.failures.size() == 1);
  CHECK(decider.failures[0].stage == Stage::kDial);
  CHECK(decider.failures[0].error == ECONNREFUSED);
  CHECK(decider.failures[0].why == "cannot connect to 127.0.0.1 port " + std::to_string(closed.port) + ": connect ECONNREFUSED " + closed.Text());
}

TEST_CASE_FIXTURE(Fixture, "a pod that left, a socket that cannot be marked") {
  // Without a map, no socket is marked.
  SockMap no_map;
  decider.on_failed = [&](Decided* flow) { flow->OnDecision({nullptr, 0, 503}); };
  SUBCASE("gone") {
    decider.on_ask = [&](Decided* flow) { Decide(flow, DirectTarget{pod.cookie + 1, app_address, true, {}}); };
    const Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
    CHECK(Read(peer) == "<reset>");
    CHECK(decider.failures.at(0).stage == Stage::kPodGone);
  }
  SUBCASE("unmarked: it does not connect") {
    listeners.reset();
    worker = std::make_unique<Worker>(Worker{loop, decider, *sockets, no_map, Unused<Credentials>(), tunnels, limits});
    listeners = std::make_unique<PodListeners>(worker.get(), &pod, nullptr);
    const Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
    CHECK(Read(peer) == "<reset>");
    CHECK(decider.failures.at(0).stage == Stage::kNone);
  }
  CheckOver(1);
}

TEST_CASE_FIXTURE(Fixture, "a target that does not respond fails in time, and its client may leave meanwhile") {
  if (!has_map) return;
  limits.dial_timeout_ms_max = 50;
  decider.on_failed = [&](Decided* flow) { flow->OnDecision({nullptr, 0, 503}); };
  // A listener whose queue is full drops SYNs.
  Address full;
  const Fd listener = ListenOnLoopback(&full, 0);
  const Fd first = ConnectTo(full);
  decider.on_ask = [&](Decided* flow) { Decide(flow, DirectTarget{pod.cookie, full, true, {}}); };
  Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
  SUBCASE("time") {
    CHECK(Read(peer) == "<reset>");
    REQUIRE(decider.failures.size() == 1);
    CHECK(decider.failures[0].error == ETIMEDOUT);
    CHECK(decider.failures[0].why == "no response from 127.0.0.1 port " + std::to_string(full.port) + " within 50 ms");
  }
  SUBCASE("the client leaves") {
    CHECK(Until([&] { return decider.asked == 1; }));
    RunFor(&loop, 5);
    ResetNow(&peer);
    CHECK(Until([&] { return decider.closed == 1; }));
    CHECK(decider.ended == Ended::kPodReset);
  }
  SUBCASE("it is cut") {
    CHECK(Until([&] { return decider.asked == 1; }));
    RunFor(&loop, 5);
    decider.flow->Cut("policy");
    CHECK(decider.closed == 1);
    CHECK(decider.ended == Ended::kCut);
    CHECK(decider.reason == "policy");
    CHECK(Read(peer) == "<reset>");
  }
  CheckOver(1);
}

TEST_CASE_FIXTURE(Fixture, "Cut of a relayed flow resets both ends within the call") {
  if (!has_map) return;
  const Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
  const Fd accepted = AcceptApp();
  CHECK(Until([&] { return decider.opened == 1; }));
  decider.flow->Cut("policy");
  CHECK(decider.closed == 1);
  CHECK(decider.ended == Ended::kCut);
  CHECK(decider.reason == "policy");
  CHECK(ReceiveAll(peer) == "<reset>");
  CHECK(ReceiveAll(accepted) == "<reset>");
  CheckOver(1);
}

TEST_CASE_FIXTURE(Fixture, "limits of connections, by their names") {
  decides = false;
  const Address address = Listen(ListenerKind::kOutbound);
  SUBCASE("of the worker") {
    limits.flows_max = 1;
    const Fd first = ConnectTo(address);
    CHECK(Until([&] { return decider.asked == 1; }));
    const Fd second = ConnectTo(address);
    CHECK(Read(second) == "<reset>");
    CHECK(decider.limits == std::vector<std::string>{"connections"});
    decider.flow->OnDecision({});
  }
  SUBCASE("of a pod: as many as others have left") {
    limits.flows_max = 8;
    worker->flows += 3;
    const Fd first = ConnectTo(address), second = ConnectTo(address);
    CHECK(Until([&] { return decider.asked == 2; }));
    const Fd third = ConnectTo(address);
    CHECK(Read(third) == "<reset>");
    CHECK(decider.limits == std::vector<std::string>{"connections-of-pod"});
    worker->flows -= 3;
    return;
  }
  SUBCASE("of a pod: its floor, whatever others hold") {
    limits.flows_max = 1024;
    worker->flows += 1020;
    const Fd first = ConnectTo(address), second = ConnectTo(address);
    CHECK(Until([&] { return decider.asked == 2; }));
    const Fd third = ConnectTo(address);
    CHECK(Read(third) == "<reset>");
    CHECK(decider.limits == std::vector<std::string>{"connections-of-pod"});
    worker->flows -= 1020;
    return;
  }
  SUBCASE("of a pod, tunnels included") {
    limits.flows_max = 2;
    Listen(ListenerKind::kHbone);
    const Fd first = ConnectTo(address);
    CHECK(Until([&] { return decider.asked == 1; }));
    server.on_tunnel(std::make_unique<FakeTunnel>(TunnelQuestion{}, &seen));
    CHECK(seen.refused == 503);
    CHECK(decider.limits == std::vector<std::string>{"connections-of-pod"});
    decider.flow->OnDecision({});
  }
  CheckOver(1);
}

TEST_CASE_FIXTURE(Fixture, "descriptors are counted as they are used, and a pod has a share of them") {
  if (!has_map) return;
  DescriptorShares& shares = DescriptorShares::OfProcess();
  shares.set_max(6);
  const Address address = Listen(ListenerKind::kOutbound);
  {
    const Fd first = ConnectTo(address);
    const Fd accepted = AcceptApp();
    CHECK(Until([&] { return decider.opened == 1; }));
    CHECK(shares.held() == 2);
    decides = false;
    const Fd second = ConnectTo(address);
    CHECK(Until([&] { return decider.asked == 2; }));
    CHECK(shares.held() == 3);
    decider.on_failed = [&](Decided* flow) { flow->OnDecision({nullptr, 0, 503}); };
    // Its fourth leaves two.
    Decide(decider.flow, direct());
    const Fd other = AcceptApp();
    CHECK(shares.held() == 4);
    Listen(ListenerKind::kHbone);
    server.on_tunnel(std::make_unique<FakeTunnel>(TunnelQuestion{}, &seen));
    CHECK(seen.refused == 503);
    const Fd third = ConnectTo(address);
    CHECK(Read(third) == "<reset>");
    CHECK(decider.limits == std::vector<std::string>{"connections-of-pod", "connections-of-pod"});
    CHECK(decider.asked == 2);
  }
  CHECK(Until([&] { return listeners->flows() == 0; }));
  loop.RunOnce(0);
  CHECK(shares.held() == 0);
  shares.set_max(1'000'000);
}

TEST_CASE_FIXTURE(Fixture, "a socket to the application that a pod's share does not allow is a failure that the agent hears of") {
  DescriptorShares& shares = DescriptorShares::OfProcess();
  shares.set_max(1);
  decider.on_failed = [&](Decided* flow) { flow->OnDecision({nullptr, 0, 503}); };
  const Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
  CHECK(Read(peer) == "<reset>");
  REQUIRE(decider.failures.size() == 1);
  CHECK(decider.failures[0].error == EMFILE);
  CHECK(decider.limits.at(0) == "connections");
  CheckOver(1);
  loop.RunOnce(0);
  CHECK(shares.held() == 0);
  shares.set_max(1'000'000);
}

TEST_CASE_FIXTURE(Fixture, "without descriptors connections are refused at once, and taken again later") {
  decides = false;
  const Address address = Listen(ListenerKind::kOutbound);
  const Fd peer = ConnectTo(address);
  rlimit before;
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  const Fd highest(dup(0));
  rlimit low = {static_cast<rlim_t>(highest.get()), before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
  const uint64_t turns = loop.turn();
  CHECK(Read(peer) == "<reset>");
  RunFor(&loop, 30);
  CHECK(loop.turn() - turns < 20);
  CHECK(decider.limits == std::vector<std::string>{"descriptors"});
  CHECK(decider.asked == 0);
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
  const Fd next = ConnectTo(address);
  CHECK(Until([&] { return decider.asked == 1; }));
  decider.flow->OnDecision({});
  CheckOver(1);
}

TEST_CASE_FIXTURE(Fixture, "a captured connection through a tunnel") {
  decider.on_ask = [&](Decided* flow) { Decide(flow, TunnelTarget{}); };
  decider.on_failed = [&](Decided* flow) { flow->OnDecision({nullptr, 0, 503}); };
  Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
  CHECK(Until([&] { return pool.opened == 1; }));
  SUBCASE("opened") {
    pool.on_tunnel(std::make_unique<FakeStream>(), {});
    CHECK(decider.opened == 1);
    FakeRelay::latest->owner->OnLingered();
    CHECK(decider.limits == std::vector<std::string>{"linger"});
    FakeRelay::latest->owner->OnRelayEnded(Ended::kPeerReset);
    CHECK(decider.ended == Ended::kPeerReset);
    CHECK(decider.bytes_sent == 11);
  }
  SUBCASE("failed") {
    pool.on_tunnel(nullptr, {Stage::kTunnelTls, 0, 0, "certificate"});
    REQUIRE(decider.failures.size() == 1);
    CHECK(decider.failures[0].stage == Stage::kTunnelTls);
    CHECK(Read(peer) == "<reset>");
  }
  SUBCASE("the client leaves") {
    ResetNow(&peer);
    CHECK(Until([&] { return decider.closed == 1; }));
    CHECK(pool.canceled == 1);
  }
  SUBCASE("cut") {
    decider.flow->Cut("policy");
    CHECK(pool.canceled == 1);
    CHECK(decider.ended == Ended::kCut);
  }
  CheckOver(1);
}

TEST_CASE_FIXTURE(Fixture, "an incoming tunnel") {
  if (!has_map) return;
  const Address address = Listen(ListenerKind::kHbone);
  const Fd connection = ConnectTo(address);
  CHECK(Until([&] { return server.accepted == 1; }));
  CHECK(server.local == address);
  TunnelQuestion question;
  question.remote = *ParseAddress("10.0.0.5:40000");
  question.forwarded = "for=\"10.0.0.5:1234\"";
  const auto arrive = [&] { server.on_tunnel(std::make_unique<FakeTunnel>(question, &seen)); };
  SUBCASE("is accepted once the application is connected") {
    arrive();
    CHECK(decider.flow->client() == *ParseAddress("10.0.0.5:1234"));
    CHECK(seen.accepted == 0);
    const Fd accepted = AcceptApp();
    CHECK(Until([&] { return decider.opened == 1; }));
    CHECK(seen.accepted == 1);
    // Nothing of the request is left.
    CHECK(seen.is_destroyed);
    decider.flow->Cut("policy");
    CHECK(Read(accepted) == "<reset>");
  }
  SUBCASE("is refused with the status of the decision") {
    decides = false;
    arrive();
    decider.flow->OnDecision({nullptr, 0, 401});
    CHECK(seen.refused == 401);
  }
  SUBCASE("is refused without an application") {
    app.Close();
    decider.on_failed = [&](Decided* flow) { flow->OnDecision({nullptr, 0, 503}); };
    arrive();
    CHECK(Until([&] { return seen.refused != 0; }));
    CHECK(seen.refused == 503);
  }
  SUBCASE("leaves while it is asked about") {
    decides = false;
    arrive();
    seen.on_gone();
    CHECK(decider.canceled == 1);
  }
  SUBCASE("leaves before it is accepted") {
    arrive();
    seen.is_gone = true;
    CHECK(Until([&] { return decider.closed == 1; }));
    CHECK(decider.ended == Ended::kPeerReset);
  }
  SUBCASE("is cut while the application is connected") {
    arrive();
    decider.flow->Cut("policy");
    CHECK(seen.refused == 401);
    CHECK(decider.ended == Ended::kCut);
  }
  SUBCASE("cannot lead into another tunnel") {
    decider.on_ask = [&](Decided* flow) { Decide(flow, TunnelTarget{}); };
    arrive();
    CHECK(seen.refused == 503);
    CHECK(decider.ended == Ended::kRefused);
  }
  CheckOver(1);
}

TEST_CASE_FIXTURE(Fixture, "a connection that was on its way when its carrier was replaced is served") {
  if (!has_map) return;
  const Address address = Listen(ListenerKind::kOutbound);
  Listen(ListenerKind::kHbone);
  // It waits in the queue of the listener.
  const Fd peer = ConnectTo(address);
  listeners->Drain();
  CHECK(server.drained == 1);
  CHECK(!listeners->idle());
  CHECK(Until([&] { return decider.opened == 1; }));
  const Fd later = ConnectTo(address);
  CHECK(Until([&] { return decider.opened == 2; }));
  CHECK(Until([&] { return !listeners->IsListening(ListenerKind::kOutbound); }));
  CHECK(!listeners->IsListening(ListenerKind::kHbone));
  listeners.reset();
  CHECK(decider.closed == 2);
  loop.RunOnce(0);
}

TEST_CASE_FIXTURE(Fixture, "listeners close after the grace period or at once, flows go on") {
  if (!has_map) return;
  const Address address = Listen(ListenerKind::kOutbound);
  Listen(ListenerKind::kHbone);
  const Fd peer = ConnectTo(address);
  const Fd accepted = AcceptApp();
  CHECK(Until([&] { return decider.opened == 1; }));
  SUBCASE("grace") {
    listeners->Close(20);
    CHECK(listeners->IsListening(ListenerKind::kOutbound));
    CHECK(Until([&] { return !listeners->IsListening(ListenerKind::kOutbound); }));
  }
  SUBCASE("at once") { listeners->Close(0); }
  CHECK(!listeners->IsListening(ListenerKind::kHbone));
  CHECK(server.drained == 1);
  CHECK(!listeners->idle());
  CHECK(SendAll(peer, "still"));
  shutdown(peer.get(), SHUT_WR);
  CHECK(Read(accepted) == "still<end>");
  shutdown(accepted.get(), SHUT_WR);
  CheckOver(1);
  CHECK(listeners->idle());
}

TEST_CASE_FIXTURE(Fixture, "the end of the listeners resets what is left") {
  if (!has_map) return;
  const Fd peer = ConnectTo(Listen(ListenerKind::kOutbound));
  const Fd accepted = AcceptApp();
  CHECK(Until([&] { return decider.opened == 1; }));
  listeners.reset();
  CHECK(ReceiveAll(peer) == "<reset>");
  CHECK(ReceiveAll(accepted) == "<reset>");
  CHECK(decider.closed == 1);
  loop.RunOnce(0);
}

}  // namespace
}  // namespace weft
