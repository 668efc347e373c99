// SPDX-License-Identifier: Apache-2.0
// The relay between an application's socket and a stream that the test plays.
#include <doctest/doctest.h>

#include "http2/tunnel_pool.h"
#include "http2/tunnel_stream.h"
#include "net/test_sockets.h"
#include "observe/http_watch.h"
#include "relay/relay.h"
#include "relay/test_worker.h"
#include "tls/credentials.h"

using namespace weft;

namespace {
struct Played : TunnelStream {
  void Start(TunnelStreamUser* user) override { this->user = user; }
  void Wake() override { wakes++; }
  void Consume(size_t bytes) override { consumed += bytes; }
  void Reset(uint32_t code) override { reset_code = static_cast<int>(code); }
  bool is_finished() const override { return false; }
  bool may_linger() const override { return lingers; }

  // What the relay sends, followed by "<end>" or "<later>".
  std::string Pull() {
    std::string all;
    char bytes[65536];
    for (;;) {
      const ssize_t count = user->OnPull(reinterpret_cast<uint8_t*>(bytes), sizeof(bytes));
      if (count <= 0) return all + (count == 0 ? "<end>" : "<later>");
      all.append(bytes, static_cast<size_t>(count));
    }
  }
  void Deliver(const std::string& text) {
    user->OnData(reinterpret_cast<const uint8_t*>(text.data()), text.size() / 2);
    user->OnData(reinterpret_cast<const uint8_t*>(text.data()) + text.size() / 2, text.size() - text.size() / 2);
    user->OnBatchEnd();
  }
  TunnelStreamUser* user = nullptr;
  int wakes = 0, reset_code = -1;
  size_t consumed = 0;
  bool lingers = true;
};

struct Seen : HttpWatchUser {
  void OnHttp(const HttpSeen& seen) override { all += std::string(seen.path_template) + " " + std::to_string(seen.status) + "\n"; }
  void OnHttpLimit() override {}
  std::string all;
};

struct Fixture : RelayOwner {
  Fixture() {
    auto owned = std::make_unique<Played>();
    stream = owned.get();
    relay = RelayTunnel(&worker, std::make_unique<AppSocket>(&loop, std::move(connection.ours)), std::move(owned), this, &watch);
    RunFor(&loop, 5);
  }
  void OnRelayEnded(Ended how) override {
    ends++;
    ended = how;
  }
  void OnLingered() override { lingered++; }
  void OnUnread() override { unread++; }
  bool WaitForWake() {
    const int before = stream->wakes;
    return RunUntil(&loop, [&] { return stream->wakes > before; });
  }

  Loop loop;
  FakeDecider decider;
  Limits limits{.linger_ms_max = 200};
  Worker worker{loop, decider, Unused<PodSockets>(), Unused<SockMap>(), Unused<Credentials>(), Unused<TunnelPool>(), limits};
  Connection connection;
  Played* stream = nullptr;
  Seen seen;
  HttpWatch watch{&seen, 1, HttpWatch::Client::kPod};
  std::unique_ptr<Relay> relay;
  Ended ended = Ended::kNone;
  int ends = 0, lingered = 0, unread = 0;
};
}  // namespace

TEST_CASE_FIXTURE(Fixture, "bytes and half closes pass in both directions") {
  CHECK(SendAll(connection.app, "request"));
  CHECK(WaitForWake());
  CHECK(stream->Pull() == "request<later>");
  stream->Deliver("response");
  CHECK(stream->consumed == 8);
  shutdown(connection.app.get(), SHUT_WR);
  CHECK(WaitForWake());
  CHECK(stream->Pull() == "<end>");
  CHECK(ends == 0);
  stream->user->OnEnd();
  stream->user->OnFinished();
  CHECK(RunUntil(&loop, [&] { return ends == 1; }));
  CHECK(ended == Ended::kFinished);
  CHECK(ReceiveAll(connection.app) == "response<end>");
  CHECK(relay->bytes_sent() == 7);
  CHECK(relay->bytes_received() == 8);
}

TEST_CASE_FIXTURE(Fixture, "a watch sees the bytes of both directions") {
  CHECK(SendAll(connection.app, "GET /orders/17 HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n"));
  CHECK(WaitForWake());
  CHECK(stream->Pull().ends_with("<later>"));
  stream->Deliver("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody");
  stream->Deliver("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n");
  CHECK(seen.all == "/orders/* 200\n/b 404\n");
}

TEST_CASE_FIXTURE(Fixture, "what the peer sent before its reset is delivered") {
  stream->Deliver("last words");
  stream->user->OnReset(8);
  CHECK(RunUntil(&loop, [&] { return ends == 1; }));
  CHECK(ended == Ended::kPeerReset);
  CHECK(lingered == 0);
  CHECK(ReceiveAll(connection.app) == "last words<reset>");
}

TEST_CASE_FIXTURE(Fixture, "a reader that takes too long after a reset loses the rest") {
  const std::string large(8 << 20, 'x');
  stream->Deliver(large);
  CHECK(stream->consumed < large.size());
  stream->user->OnReset(8);
  CHECK(ends == 0);
  CHECK(RunUntil(&loop, [&] { return ends == 1; }));
  CHECK(lingered == 1);
  CHECK(ended == Ended::kPeerReset);
}

TEST_CASE_FIXTURE(Fixture, "without a share nothing waits") {
  stream->lingers = false;
  stream->Deliver(std::string(8 << 20, 'x'));
  stream->user->OnReset(8);
  CHECK(ends == 1);
}

TEST_CASE_FIXTURE(Fixture, "a tunnel that has ended in order does not look complete to a reader whose bytes cannot wait") {
  const std::string large(8 << 20, 'x');
  shutdown(connection.app.get(), SHUT_WR);
  CHECK(WaitForWake());
  CHECK(stream->Pull() == "<end>");
  stream->Deliver(large);
  stream->user->OnEnd();
  SUBCASE("without a share") {
    stream->lingers = false;
    stream->user->OnFinished();
    CHECK(ends == 1);
    CHECK(ended == Ended::kCut);
    CHECK(unread == 1);
    CHECK(ReceiveAll(connection.app).ends_with("<reset>"));
  }
  SUBCASE("with one") {
    stream->user->OnFinished();
    CHECK(ends == 0);
    std::string got;
    CHECK(RunUntil(&loop, [&] {
      got += ReceiveNow(connection.app);
      return ends == 1;
    }));
    CHECK(ended == Ended::kFinished);
    CHECK(unread == 0);
    CHECK(stream->consumed == large.size());
  }
}

TEST_CASE_FIXTURE(Fixture, "what the application sent before its reset is sent") {
  CHECK(SendAll(connection.app, "early response"));
  CHECK(WaitForWake());
  ResetNow(&connection.app);
  RunFor(&loop, 20);
  std::string sent = stream->Pull();
  CHECK(sent == "early response<later>");
  CHECK(RunUntil(&loop, [&] { return ends == 1; }));
  CHECK(ended == Ended::kPodReset);
  CHECK(stream->reset_code == 8);
}

TEST_CASE_FIXTURE(Fixture, "a reader that is slow gets everything, and its window opens as it reads") {
  const std::string large(8 << 20, 'x');
  stream->Deliver(large);
  const size_t before = stream->consumed;
  CHECK(before < large.size());
  stream->user->OnEnd();
  std::string got;
  CHECK(RunUntil(&loop, [&] {
    got += ReceiveNow(connection.app);
    return got.size() >= large.size() + 5;
  }));
  CHECK(got == large + "<end>");
  CHECK(stream->consumed == large.size());
}

TEST_CASE_FIXTURE(Fixture, "a cut resets both ends at once") {
  relay->Cut();
  CHECK(ends == 1);
  CHECK(ended == Ended::kCut);
  CHECK(stream->reset_code == 8);
  CHECK(ReceiveAll(connection.app) == "<reset>");
  relay->Cut();
  CHECK(ends == 1);
}
