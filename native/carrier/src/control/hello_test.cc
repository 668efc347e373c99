// SPDX-License-Identifier: Apache-2.0
// The start of a session, and what ends one.
#include <sys/resource.h>

#include "control/test_carrier.h"

using namespace weft;

TEST_CASE("hello: version and state") {
  Carrier carrier;
  Agent agent(carrier.path);
  const pb::State state = agent.Start();
  CHECK(agent.carrier.version() == pb::VERSION_CURRENT);
  CHECK(agent.carrier.build() == "build");
  CHECK(agent.carrier.pid() == static_cast<uint32_t>(getpid()));
  CHECK_FALSE(agent.carrier.is_draining());
  CHECK(state.pods().empty());
}

TEST_CASE("an older and a newer version are answered and ended") {
  Carrier carrier;
  for (const uint32_t version : {0u, Control::kVersion - 1, Control::kVersion + 1}) {
    Agent agent(carrier.path);
    agent.Hello(version);
    const auto hello = agent.Next();
    REQUIRE(hello);
    CHECK(hello->hello().version() == Control::kVersion);
    CHECK(agent.IsClosed());
  }
}

TEST_CASE("a field that this carrier does not know ends the connection, whatever the message") {
  Carrier carrier;
  carrier.lease.Renew(60'000);
  std::vector<pb::AgentMessage> messages(9);
  messages[0].mutable_revoke()->set_call(1);
  messages[1].mutable_lease()->set_for_ms(60'000);
  messages[2].mutable_identities()->set_trust_domain("d");
  messages[3].mutable_pod_gone()->set_cookie(1);
  messages[4].mutable_key_wanted()->set_identity("spiffe://d/ns/n/sa/s");
  messages[5].mutable_certificate()->set_identity("spiffe://d/ns/n/sa/s");
  messages[6].mutable_answer()->mutable_refuse()->set_status(503);
  messages[7].mutable_drain()->set_grace_ms(3'600'000);
  messages[8].mutable_acknowledge()->set_batch(1);
  for (const pb::AgentMessage& known : messages) {
    for (const bool is_known : {true, false}) {
      Agent agent(carrier.path);
      agent.Start();
      // Tag and length of the message, then its fields and a field 100 of it.
      std::string packet = known.SerializeAsString();
      REQUIRE(static_cast<unsigned char>(packet[1]) < 0x70);
      if (!is_known) {
        packet[1] = static_cast<char>(packet[1] + 3);
        packet += std::string("\xa0\x06\x01", 3);
      }
      agent.Raw("\x0a" + std::string(1, static_cast<char>(packet.size())) + packet);
      pb::ToCarrier list;
      list.add_messages()->mutable_list_flows()->set_call(7);
      // The connection may have ended already.
      agent.Raw(list.SerializeAsString());
      bool is_served = false;
      while (const auto message = agent.Next()) {
        is_served = message->has_flows();
        if (is_served) break;
      }
      CHECK_MESSAGE(is_served == is_known, "message " << known.kind_case());
    }
  }
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
    bad.Renew(1000);
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

TEST_CASE("a field beside a message, or beside all messages of a packet, ends the connection") {
  Carrier carrier;
  for (const bool is_in_message : {true, false}) {
    Agent agent(carrier.path);
    agent.Start();
    pb::AgentMessage lease;
    lease.mutable_lease()->set_for_ms(60'000);
    const std::string field("\xa0\x06\x01", 3);
    const std::string message = lease.SerializeAsString() + (is_in_message ? field : "");
    agent.Raw("\x0a" + std::string(1, static_cast<char>(message.size())) + message + (is_in_message ? "" : field));
    CHECK(agent.IsClosed());
  }
  CHECK_FALSE(carrier.lease.IsValid());
}

TEST_CASE("a newer agent replaces the older one") {
  Carrier carrier;
  Agent older(carrier.path);
  older.Start();
  Agent newer(carrier.path);
  newer.Start();
  CHECK(older.IsClosed());
  newer.Renew(60'000);
  CHECK(Eventually([&] { return carrier.lease.IsValid(); }));
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
  CHECK(agent.carrier.version() == pb::VERSION_CURRENT);
  taken.clear();
  setrlimit(RLIMIT_NOFILE, &former);
}
