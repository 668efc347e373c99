// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include "http2/memory.h"
#include "http2/tunnel_pool.h"
#include "net/test_sockets.h"
#include "observe/http_watch.h"
#include "observe/test_http2.h"
#include "relay/relay.h"
#include "relay/test_worker.h"
#include "tls/credentials.h"

namespace weft {
namespace {

struct Owner : RelayOwner {
  void OnRelayEnded(Ended value) override {
    calls++;
    ended = value;
  }
  void OnLingered() override { lingered++; }
  int calls = 0, lingered = 0;
  Ended ended = Ended::kNone;
};

struct Uncounted : HttpWatchUser {
  void OnHttp(const HttpSeen&) override {}
  void OnHttpLimit() override {}
};

// `pod` and `peer` are the applications' ends.
struct Fixture {
  void Begin(HttpWatch* watch = nullptr) {
    relay = RelaySockets(&worker, 1, std::make_unique<AppSocket>(&loop, std::move(left.ours)),
                         std::make_unique<AppSocket>(&loop, std::move(right.ours)), &owner, watch);
  }
  bool RunUntilEnded() {
    return RunUntil(&loop, [&] { return owner.calls > 0; });
  }
  // Reads both ways until the peer's application has an end, a reset or nothing more for the time limit.
  std::string Read(const Fd& from) {
    std::string text;
    RunUntil(&loop, [&] {
      text += ReceiveNow(from);
      return text.ends_with('>');
    });
    return text;
  }

  Loop loop;
  Limits limits;
  FakeDecider decider;
  SockMap map;
  Worker worker{loop, decider, Unused<PodSockets>(), map, Unused<Credentials>(), Unused<TunnelPool>(), limits};
  Connection left, right;
  Fd& pod = left.app;
  Fd& peer = right.app;
  Owner owner;
  std::unique_ptr<Relay> relay;
};

TEST_CASE_FIXTURE(Fixture, "half close passes in both directions") {
  Begin();
  CHECK(SendAll(pod, "request"));
  shutdown(pod.get(), SHUT_WR);
  CHECK(Read(peer) == "request<end>");
  CHECK(owner.calls == 0);
  CHECK(SendAll(peer, "response"));
  peer.Close();
  CHECK(Read(pod) == "response<end>");
  CHECK(RunUntilEnded());
  CHECK(owner.ended == Ended::kFinished);
  CHECK(relay->bytes_sent() == 7);
  CHECK(relay->bytes_received() == 8);
}

TEST_CASE_FIXTURE(Fixture, "what was there before the relay is not forgotten") {
  CHECK(SendAll(pod, "early"));
  shutdown(pod.get(), SHUT_WR);
  CHECK(SendAll(peer, "banner"));
  peer.Close();
  usleep(10'000);
  Begin();
  CHECK(RunUntilEnded());
  CHECK(owner.ended == Ended::kFinished);
  CHECK(Read(pod) == "banner<end>");
}

TEST_CASE_FIXTURE(Fixture, "a reset of the pod reaches the peer, and the other way round") {
  Begin();
  SUBCASE("pod") {
    CHECK(SendAll(pod, "data"));
    ResetNow(&pod);
    CHECK(Read(peer) == "data<reset>");
    CHECK(RunUntilEnded());
    CHECK(owner.ended == Ended::kPodReset);
  }
  SUBCASE("peer") {
    CHECK(SendAll(peer, "data"));
    ResetNow(&peer);
    CHECK(Read(pod) == "data<reset>");
    CHECK(RunUntilEnded());
    CHECK(owner.ended == Ended::kPeerReset);
  }
  CHECK(owner.calls == 1);
  CHECK(owner.lingered == 0);
}

TEST_CASE_FIXTURE(Fixture, "Cut resets both ends within the call") {
  Begin();
  CHECK(SendAll(pod, "data"));
  CHECK(RunUntil(&loop, [&] { return ReceiveNow(peer) == "data"; }));
  relay->Cut();
  CHECK(owner.calls == 1);
  CHECK(owner.ended == Ended::kCut);
  CHECK(ReceiveAll(pod) == "<reset>");
  CHECK(ReceiveAll(peer) == "<reset>");
  relay->Cut();
  loop.RunOnce(0);
  CHECK(owner.calls == 1);
}

TEST_CASE_FIXTURE(Fixture, "an early response reaches the client though the upload fails") {
  Begin();
  // The server reads a little, responds and closes: unread bytes make that a reset.
  const std::string upload(256 << 10, 'u');
  size_t uploaded = 0;
  bool has_responded = false;
  std::string response;
  CHECK(RunUntil(&loop, [&] {
    if (uploaded < (32u << 20)) {
      const ssize_t count = send(pod.get(), upload.data(), upload.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count > 0) uploaded += static_cast<size_t>(count);
      if (count < 0 && errno != EAGAIN) uploaded = 32u << 20;
    }
    if (!has_responded && uploaded > (1u << 20)) {
      has_responded = SendAll(peer, "HTTP/1.1 413 too large");
      peer.Close();
    }
    // The client reads only after its upload.
    if (uploaded < (32u << 20)) return false;
    response += ReceiveNow(pod);
    return response.ends_with('>');
  }));
  // A failed send() takes the error of the reset, and recv() returns an end afterwards.
  CHECK(response.starts_with("HTTP/1.1 413 too large<"));
  CHECK(RunUntilEnded());
  CHECK(owner.ended == Ended::kPeerReset);
}

TEST_CASE_FIXTURE(Fixture, "a slow client reads the whole of a long response that precedes a reset") {
  Begin();
  const std::string response(12 << 20, 'r');
  size_t sent = 0;
  std::string received;
  CHECK(RunUntil(&loop, [&] {
    if (peer.valid()) {
      const ssize_t count = send(peer.get(), response.data() + sent, response.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count > 0) sent += static_cast<size_t>(count);
      if (sent == response.size()) ResetNow(&peer);
      // A reset discards what the kernel has not sent yet, so let it drain.
    }
    char bytes[20'000];
    const ssize_t count = recv(pod.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count > 0) received.append(bytes, static_cast<size_t>(count));
    return !peer.valid() && (count == 0 || (count < 0 && errno != EAGAIN));
  }));
  // The end that was reset loses its own unsent bytes at most.
  CHECK(received.size() > (4u << 20));
  CHECK(received.size() == relay->bytes_received());
  CHECK(RunUntilEnded());
}

TEST_CASE_FIXTURE(Fixture, "one that never reads what precedes a reset is given up") {
  limits.linger_ms_max = 60;
  Begin();
  const std::string response(1 << 20, 'r');
  size_t sent = 0;
  RunUntil(&loop, [&] {
    const ssize_t count = send(peer.get(), response.data(), response.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) sent += static_cast<size_t>(count);
    loop.RunOnce(0);
    loop.RunOnce(0);
    return loop.turn() > 300;
  });
  ResetNow(&peer);
  CHECK(RunUntilEnded());
  CHECK(owner.lingered == 1);
  CHECK(owner.ended == Ended::kPeerReset);
  CHECK(ReceiveAll(pod).ends_with("<reset>"));
}

TEST_CASE_FIXTURE(Fixture, "bulk in both directions at once, complete and in order, with one read of buffer at most") {
  Begin();
  std::string sent;
  for (int i = 0; sent.size() < (8u << 20); i++) sent += std::to_string(i) + ",";
  size_t up = 0, down = 0;
  std::string at_pod, at_peer;
  const auto step = [&](const Fd& from, size_t* offset) {
    if (*offset == sent.size()) return;
    const ssize_t count = send(from.get(), sent.data() + *offset, sent.size() - *offset, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) *offset += static_cast<size_t>(count);
    if (*offset == sent.size()) shutdown(from.get(), SHUT_WR);
  };
  CHECK(RunUntil(&loop, [&] {
    step(pod, &up);
    step(peer, &down);
    at_pod += ReceiveNow(pod);
    at_peer += ReceiveNow(peer);
    return owner.calls > 0;
  }));
  at_pod += ReceiveNow(pod);
  at_peer += ReceiveNow(peer);
  const auto matches = [&](const std::string& text) { return text.starts_with(sent) && text.substr(sent.size()).starts_with("<end>"); };
  const bool is_equal = matches(at_pod) && matches(at_peer);
  CHECK(is_equal);
  CHECK(owner.ended == Ended::kFinished);
  CHECK(relay->bytes_sent() == sent.size());
}

TEST_CASE_FIXTURE(Fixture, "a flow whose requests are counted moves one read in a turn: other flows wait for no more") {
  Uncounted user;
  HttpWatch watch{&user, 1, HttpWatch::Client::kPod};
  Begin(&watch);
  // Trailers with many fields.
  std::string sent = TestHttp2::Begin() + TestHttp2::Frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, "\x82\x84");
  while (sent.size() < (4u << 20))
    sent += TestHttp2::Frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1, std::string(16'000, '\x90'));
  size_t offset = 0, got = 0;
  uint64_t before = 0, most = 0;
  CHECK(RunUntil(&loop, [&] {
    most = std::max(most, relay->bytes_sent() - before);
    before = relay->bytes_sent();
    // The kernel has all that it takes, so each turn could move much more.
    while (offset < sent.size()) {
      const ssize_t count = send(pod.get(), sent.data() + offset, sent.size() - offset, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count <= 0) break;
      offset += static_cast<size_t>(count);
    }
    got += ReceiveNow(peer).size();
    return got >= sent.size();
  }));
  CHECK_FALSE(watch.is_over());
  // What waited, what arrived and what the other side read may each move one read.
  CHECK(most <= 3 * (128u << 10));
}

TEST_CASE_FIXTURE(Fixture, "without room for what may have to wait, bytes wait in the kernel, and all of them arrive") {
  PodShares& memory = StreamMemory::OfThread().pairs;
  SUBCASE("none") { memory.set_max(0); }
  SUBCASE("smaller pieces") { memory.set_max(40'000); }
  int reached = 0;
  StreamMemory::OfThread().on_limit = [&](const char* name) {
    CHECK(std::string(name) == "socket-buffers");
    reached++;
  };
  Begin();
  // More than the kernel holds.
  std::string sent;
  for (int i = 0; sent.size() < (48u << 20); i++) sent += std::to_string(i) + ",";
  size_t offset = 0;
  uint64_t most = 0;
  // Nobody reads at first.
  RunUntil(&loop, [&] {
    const ssize_t count = send(pod.get(), sent.data() + offset, sent.size() - offset, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) offset += static_cast<size_t>(count);
    most = std::max(most, memory.held());
    return count < 0 && loop.turn() > 300;
  });
  CHECK(offset < sent.size());
  CHECK(most <= 20'000);
  CHECK(owner.calls == 0);
  const uint64_t turns = loop.turn();
  RunFor(&loop, 30);
  CHECK(loop.turn() - turns < 20);
  std::string got;
  CHECK(RunUntil(&loop, [&] {
    const ssize_t count = offset < sent.size() ? send(pod.get(), sent.data() + offset, sent.size() - offset, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (count > 0 && (offset += static_cast<size_t>(count)) == sent.size()) shutdown(pod.get(), SHUT_WR);
    got += ReceiveNow(peer);
    most = std::max(most, memory.held());
    return got.ends_with("<end>");
  }));
  const bool is_equal = got == sent + "<end>";
  CHECK(is_equal);
  CHECK(most <= 20'000);
  CHECK(memory.held() == 0);
  if (most == 0) CHECK(reached > 0);
  CHECK(relay->bytes_sent() == sent.size());
  memory.set_max(64 << 20);
  StreamMemory::OfThread().on_limit = nullptr;
}

TEST_CASE_FIXTURE(Fixture, "what waits between two sockets counts until it is read, or its flow ends") {
  PodShares& memory = StreamMemory::OfThread().pairs;
  Begin();
  RunUntil(&loop, [&] { return send(pod.get(), std::string(1 << 20, 'x').data(), 1 << 20, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && memory.held() > 0; });
  CHECK(memory.held() > 0);
  CHECK(memory.held() <= 128 << 10);
  SUBCASE("cut") { relay->Cut(); }
  SUBCASE("reset") {
    ResetNow(&peer);
    CHECK(RunUntilEnded());
  }
  relay.reset();
  CHECK(memory.held() == 0);
}

TEST_CASE_FIXTURE(Fixture, "a peer that has ended and then refuses what the pod sends resets the pod") {
  Begin();
  CHECK(SendAll(peer, "bye"));
  peer.Close();
  CHECK(Read(pod) == "bye<end>");
  CHECK(SendAll(pod, "nobody reads this"));
  CHECK(RunUntilEnded());
  CHECK(owner.ended == Ended::kPeerReset);
  CHECK(send(pod.get(), "x", 1, MSG_NOSIGNAL) == -1);
}

}  // namespace
}  // namespace weft
