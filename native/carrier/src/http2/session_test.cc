// SPDX-License-Identifier: Apache-2.0
#include "http2/session.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>

#include "net/test_sockets.h"
#include "net/test_tcp_pair.h"
#include "tls/test_ca.h"

using namespace weft;

namespace {
// One end of a tunnel that sends what it is given and keeps what it gets.
struct User : TunnelStreamUser {
  ssize_t OnPull(uint8_t* to, size_t bytes_max) override {
    pulls++;
    const size_t count = std::min({bytes_max, to_send.size() - sent, chunk_max});
    if (count == 0) return ends && sent == to_send.size() ? 0 : kLater;
    memcpy(to, to_send.data() + sent, count);
    sent += count;
    return static_cast<ssize_t>(count);
  }
  void OnData(const uint8_t* bytes, size_t count) override { got.append(reinterpret_cast<const char*>(bytes), count); batch += count; }
  void OnBatchEnd() override {
    if (consumes) stream->Consume(batch);
    batch = consumes ? 0 : batch;
  }
  void OnEnd() override { has_ended = true; }
  void OnReset(uint32_t code) override { reset_code = static_cast<int>(code); }
  void OnFinished() override { is_finished = true; }

  void Use(std::unique_ptr<TunnelStream> owned) {
    stream = std::move(owned);
    stream->Start(this);
  }
  void Send(const std::string& text, bool is_end = false) {
    to_send += text;
    ends = is_end;
    stream->Wake();
  }
  std::unique_ptr<TunnelStream> stream;
  std::string to_send, got;
  size_t sent = 0, batch = 0, chunk_max = SIZE_MAX;
  int pulls = 0, reset_code = -1;
  bool ends = false, has_ended = false, is_finished = false, consumes = true;
};

struct End : SessionOwner, StreamListener {
  bool OnSecured(SSL*) override {
    is_secured = true;
    return accepts;
  }
  void OnRequest(std::unique_ptr<Http2Stream> stream, const HeaderFields& fields, size_t) override {
    heads.push_back(fields);
    if (refuses) return stream->Respond(refuses, true);
    if (holds) {
      held.push_back(std::move(stream));
      return;
    }
    stream->Respond(200, false);
    users.push_back(std::make_unique<User>());
    users.back()->consumes = consumes;
    users.back()->Use(std::move(stream));
  }
  void OnResponse(uint32_t status) override { statuses.push_back(status); }
  void OnStreamReset(const StreamReset& reset) override {
    resets.push_back(reset);
    if (on_reset) on_reset();
  }
  void OnSettings() override { has_settings = true; }
  void OnGoAway() override { has_goaway = true; }
  void OnEnd(const SessionEnd& end) override {
    ended = true;
    why = end;
  }
  std::unique_ptr<Session> session;
  std::vector<std::unique_ptr<User>> users;
  std::vector<std::unique_ptr<Http2Stream>> held;
  std::vector<HeaderFields> heads;
  std::vector<uint32_t> statuses;
  std::vector<StreamReset> resets;
  std::function<void()> on_reset;
  bool accepts = true, holds = false, consumes = true;
  bool is_secured = false, has_settings = false, has_goaway = false, ended = false;
  uint32_t refuses = 0;
  SessionEnd why;
};

// A server that writes what it likes after its handshake.
struct RawServer {
  RawServer(Fd owned, SSL_CTX* context) : socket(std::move(owned)), ssl(SSL_new(context)) {
    SSL_set_fd(ssl, socket.get());
    SSL_set_accept_state(ssl);
  }
  ~RawServer() { SSL_free(ssl); }
  bool Handshake() { return SSL_do_handshake(ssl) == 1; }
  void Write(const std::string& bytes) {
    for (size_t at = 0; at < bytes.size();) {
      const int count = SSL_write(ssl, bytes.data() + at, static_cast<int>(bytes.size() - at));
      REQUIRE(count > 0);
      at += static_cast<size_t>(count);
    }
  }
  Fd socket;
  SSL* ssl;
};

struct Pair {
  explicit Pair(long valid_s = 3600) {
    credentials.Keep({kClient, kServer}, kDomain);
    CHECK(ca.Issue(&credentials, kClient, 1, valid_s));
    CHECK(ca.Issue(&credentials, kServer));
  }
  void Connect() {
    auto [a, b] = TcpPair();
    client.session = std::make_unique<Session>(&loop, &client, std::move(a), credentials.Find(kClient)->client, 1, false, 0);
    server.session = std::make_unique<Session>(&loop, &server, std::move(b), credentials.Find(kServer)->server, 2, true, 10'000);
    CHECK(client.session->Start());
    CHECK(server.session->Start());
    CHECK(RunUntil(&loop, [&] { return client.has_settings && server.has_settings; }));
  }
  std::unique_ptr<Http2Stream> Request() {
    auto stream = client.session->Request({{":method", "CONNECT"}, {":authority", "10.0.0.1:80"}});
    if (stream) stream->Listen(&client);
    return stream;
  }
  // A tunnel with a user at both ends.
  User* Tunnel(User* user) {
    auto stream = Request();
    REQUIRE(stream);
    const size_t before = client.statuses.size();
    CHECK(RunUntil(&loop, [&] { return client.statuses.size() > before; }));
    CHECK(client.statuses.back() == 200);
    user->Use(std::move(stream));
    return server.users.back().get();
  }
  Ca ca;
  Credentials credentials;
  Loop loop;
  End client, server;
};
}  // namespace

TEST_CASE("bytes go both ways, and both ends finish in order") {
  Pair pair;
  pair.Connect();
  User user;
  User* const peer = pair.Tunnel(&user);
  CHECK(pair.server.heads[0][1].second == "10.0.0.1:80");
  user.Send("hello");
  CHECK(RunUntil(&pair.loop, [&] { return peer->got == "hello"; }));
  std::string large(3 << 20, 'x');
  for (size_t i = 0; i < large.size(); i++) large[i] = static_cast<char>(i * 7 + i / 1000);
  peer->Send(large, true);
  user.Send(large, true);
  CHECK(RunUntil(&pair.loop, [&] { return user.is_finished && peer->is_finished; }));
  CHECK(user.got == large);
  CHECK(peer->got == "hello" + large);
  CHECK(user.has_ended);
  CHECK(user.stream->is_finished());
  CHECK(pair.client.session->open_streams() == 0);
}

TEST_CASE("a half close leaves the other direction open") {
  Pair pair;
  pair.Connect();
  User user;
  User* const peer = pair.Tunnel(&user);
  user.Send("request", true);
  CHECK(RunUntil(&pair.loop, [&] { return peer->has_ended; }));
  CHECK(!user.is_finished);
  peer->Send("response", true);
  CHECK(RunUntil(&pair.loop, [&] { return user.is_finished; }));
  CHECK(user.got == "response");
}

TEST_CASE("a reset follows what was sent before it") {
  Pair pair;
  pair.Connect();
  User user;
  User* const peer = pair.Tunnel(&user);
  peer->Send("last words");
  CHECK(RunUntil(&pair.loop, [&] { return peer->sent == 10; }));
  peer->stream->Reset(NGHTTP2_CONNECT_ERROR);
  CHECK(RunUntil(&pair.loop, [&] { return user.reset_code == NGHTTP2_CONNECT_ERROR; }));
  CHECK(user.got == "last words");
  CHECK(peer->reset_code == -1);
  user.stream.reset();
  User other;
  pair.Tunnel(&other);
  CHECK(!pair.client.ended);
}

TEST_CASE("a destroyed stream is reset") {
  Pair pair;
  pair.Connect();
  User user;
  User* const peer = pair.Tunnel(&user);
  user.stream.reset();
  CHECK(RunUntil(&pair.loop, [&] { return peer->reset_code == NGHTTP2_CANCEL; }));
}

TEST_CASE("a refusal is a status, and the connection goes on") {
  Pair pair;
  pair.Connect();
  pair.server.refuses = 401;
  auto stream = pair.Request();
  CHECK(RunUntil(&pair.loop, [&] { return !pair.client.statuses.empty(); }));
  CHECK(pair.client.statuses[0] == 401);
  stream.reset();
  pair.server.refuses = 0;
  User user;
  pair.Tunnel(&user);
}

TEST_CASE("bytes before the start of a stream wait") {
  Pair pair;
  pair.Connect();
  pair.server.holds = true;
  User user;
  auto stream = pair.Request();
  CHECK(RunUntil(&pair.loop, [&] { return pair.server.held.size() == 1; }));
  user.Use(std::move(stream));
  user.Send("early", true);
  CHECK(RunUntil(&pair.loop, [&] { return user.sent == 5; }));
  for (int i = 0; i < 5; i++) pair.loop.RunOnce(5);
  User peer;
  pair.server.held[0]->Respond(200, false);
  peer.Use(std::move(pair.server.held[0]));
  CHECK(RunUntil(&pair.loop, [&] { return peer.has_ended; }));
  CHECK(peer.got == "early");
  peer.Send("bye", true);
  CHECK(RunUntil(&pair.loop, [&] { return user.is_finished && peer.is_finished; }));
}

TEST_CASE("a slow reader holds back its own stream only") {
  Pair pair;
  pair.Connect();
  pair.server.consumes = false;
  User slow;
  User* const slow_peer = pair.Tunnel(&slow);
  slow.Send(std::string(8 << 20, 's'));
  CHECK(RunUntil(&pair.loop, [&] { return slow_peer->got.size() >= (256 << 10); }));
  pair.server.consumes = true;
  User fast;
  User* const fast_peer = pair.Tunnel(&fast);
  fast.Send(std::string(8 << 20, 'f'), true);
  CHECK(RunUntil(&pair.loop, [&] { return fast_peer->has_ended; }, 20000));
  CHECK(fast_peer->got.size() == 8 << 20);
  CHECK(slow_peer->got.size() == 256 << 10);
  slow_peer->consumes = true;
  slow_peer->stream->Consume(slow_peer->batch);
  CHECK(RunUntil(&pair.loop, [&] { return slow_peer->got.size() == 8 << 20; }, 20000));
}

TEST_CASE("a small stream is not behind the bulk of another") {
  Pair pair;
  pair.Connect();
  User bulk, small;
  User* const bulk_peer = pair.Tunnel(&bulk);
  User* const small_peer = pair.Tunnel(&small);
  bulk.Send(std::string(64 << 20, 'b'), true);
  CHECK(RunUntil(&pair.loop, [&] { return bulk_peer->got.size() > (2 << 20); }, 20000));
  const size_t before = bulk_peer->got.size();
  small.Send("ping");
  CHECK(RunUntil(&pair.loop, [&] { return small_peer->got == "ping"; }, 20000));
  CHECK(bulk_peer->got.size() - before < (8 << 20));
}

TEST_CASE("a drained server finishes its streams and closes") {
  Pair pair;
  pair.Connect();
  User user;
  User* const peer = pair.Tunnel(&user);
  pair.server.session->Drain();
  CHECK(RunUntil(&pair.loop, [&] { return pair.client.has_goaway; }));
  CHECK(!pair.client.session->can_open());
  user.Send("still here", true);
  peer->Send("yes", true);
  CHECK(RunUntil(&pair.loop, [&] { return user.is_finished && pair.client.ended && pair.server.ended; }));
  CHECK(user.got == "yes");
  CHECK(pair.server.why.kind == SessionEnd::Kind::kClosed);
}

TEST_CASE("the end of a connection resets its streams") {
  Pair pair;
  pair.Connect();
  User user;
  User* const peer = pair.Tunnel(&user);
  pair.server.session->Destroy();
  CHECK(RunUntil(&pair.loop, [&] { return user.reset_code >= 0 && pair.client.ended && pair.server.ended; }));
  CHECK(peer->reset_code == NGHTTP2_CANCEL);
}

// The request is still queued in nghttp2 when its stream is deleted. AddressSanitizer sees what is used after that.
TEST_CASE("a connection that ends in the turn of a new request leaves nothing of the request behind") {
  Pair pair;
  auto [a, b] = TcpPair();
  pair.client.session = std::make_unique<Session>(&pair.loop, &pair.client, std::move(a), pair.credentials.Find(kClient)->client, 1, false, 0);
  RawServer server(std::move(b), pair.credentials.Find(kServer)->server.get());
  CHECK(pair.client.session->Start());
  CHECK(RunUntil(&pair.loop, [&] { return server.Handshake() && pair.client.is_secured; }));
  server.Write(std::string("\0\0\0\4\0\0\0\0\0", 9));
  CHECK(RunUntil(&pair.loop, [&] { return pair.client.has_settings; }));
  auto kind = SessionEnd::Kind::kProtocol;
  SUBCASE("a flood") {
    kind = SessionEnd::Kind::kFlood;
    std::string pings;
    for (int i = 0; i < 1500; i++) pings += std::string("\0\0\x08\6\0\0\0\0\0pingping", 17);
    server.Write(pings);
  }
  // The one whose queued request nghttp2 still sends: it follows GOAWAY.
  SUBCASE("this side's own end") { kind = SessionEnd::Kind::kLocal; }
  SUBCASE("a violation of the protocol") { server.Write(std::string("\0\0\1\0\0\0\0\0\0x", 10)); }
  auto stream = pair.Request();
  auto other = pair.Request();
  REQUIRE(other);
  pair.client.on_reset = [&] { stream.reset(); };
  if (kind == SessionEnd::Kind::kLocal) pair.client.session->Destroy();
  CHECK(RunUntil(&pair.loop, [&] { return pair.client.ended; }));
  CHECK(pair.client.why.kind == kind);
  CHECK(!stream);
  CHECK(pair.client.resets.size() == 2);
  CHECK(!pair.client.session->Request({{":method", "CONNECT"}, {":authority", "10.0.0.1:80"}}));
}

TEST_CASE("a peer that is refused after the handshake gets nothing") {
  Pair pair;
  auto [a, b] = TcpPair();
  pair.client.accepts = false;
  pair.client.session = std::make_unique<Session>(&pair.loop, &pair.client, std::move(a), pair.credentials.Find(kClient)->client, 1, false, 0);
  pair.server.session = std::make_unique<Session>(&pair.loop, &pair.server, std::move(b), pair.credentials.Find(kServer)->server, 2, true, 10'000);
  pair.client.session->Start();
  pair.server.session->Start();
  CHECK(RunUntil(&pair.loop, [&] { return pair.server.ended; }));
  CHECK(!pair.server.is_secured);
  CHECK(!pair.client.ended);
}

TEST_CASE("a certificate of another CA, and none, fail the handshake") {
  Pair pair;
  Ca other;
  Credentials foreign;
  foreign.Keep({kClient}, kDomain);
  CHECK(other.Issue(&foreign, kClient));
  auto [a, b] = TcpPair();
  pair.client.session = std::make_unique<Session>(&pair.loop, &pair.client, std::move(a), foreign.Find(kClient)->client, 1, false, 0);
  pair.server.session = std::make_unique<Session>(&pair.loop, &pair.server, std::move(b), pair.credentials.Find(kServer)->server, 2, true, 10'000);
  pair.client.session->Start();
  pair.server.session->Start();
  CHECK(RunUntil(&pair.loop, [&] { return pair.server.ended && pair.client.ended; }));
  CHECK(pair.client.why.kind == SessionEnd::Kind::kHandshake);
  CHECK(pair.client.why.why.find("certificate verify failed") != std::string::npos);
  CHECK(pair.server.why.kind == SessionEnd::Kind::kHandshake);
  CHECK(pair.server.why.why.find("alert") != std::string::npos);
}
