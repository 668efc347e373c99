// SPDX-License-Identifier: Apache-2.0
// Pods with their descriptors, and keys.
#include "control/test_carrier.h"
#include "net/test_sock_map.h"

using namespace weft;

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
    agent.Renew(60'000);
    CHECK(Eventually([&] { return carrier.lease.left_ms() > 59'000; }));
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

TEST_CASE("an agent that has no policies yet does not keep the former one's listeners beyond the lease") {
  Carrier carrier;
  Descriptors of_pod;
  const auto listeners = [&] {
    std::lock_guard lock(carrier.seen.mutex);
    return carrier.seen.listeners.size();
  };
  {
    Agent agent(carrier.path);
    agent.Start();
    agent.Send(of_pod.Pod(), of_pod.All());
    agent.Renew(700);
    CHECK(Eventually([&] { return listeners() == 1 && carrier.lease.IsValid(); }));
  }
  Agent agent(carrier.path);
  const pb::State state = agent.Start();
  REQUIRE(state.pods_size() == 1);
  CHECK(state.pods(0).listeners_size() == 1);
  CHECK(Eventually([&] { return listeners() == 0; }));
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
