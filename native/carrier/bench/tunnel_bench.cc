// SPDX-License-Identifier: Apache-2.0
// What the path of bytes costs: two processes with one connection between them relay sockets of this process. For tuning; the figures that
// count are those of `npm run bench`.
// usage: tunnel_bench [SECONDS]
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <thread>

#include "http2/session.h"
#include "net/app_socket.h"
#include "net/test_tcp_pair.h"
#include "relay/relay.h"
#include "rules/decider.h"
#include "tls/test_ca.h"
#include "worker.h"

using namespace weft;

namespace {
constexpr int kStreams = 16;

double Seconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

struct Side : SessionOwner, StreamListener, RelayOwner {
  Side(std::vector<Fd> sockets, Fd tunnel, Credentials* credentials, bool is_server) : sockets(std::move(sockets)), is_server(is_server) {
    const CredentialPtr credential = credentials->Find(is_server ? kServer : kClient);
    session = std::make_unique<Session>(&loop, this, std::move(tunnel), is_server ? credential->server : credential->client, 1, is_server, 0);
    session->Start();
  }
  bool OnSecured(SSL*) override {
    if (is_server) return true;
    for (size_t i = 0; i < sockets.size(); i++) {
      streams.push_back(session->Request({{":method", "CONNECT"}, {":authority", "10.0.0.1:80"}}));
      streams.back()->Listen(this);
    }
    return true;
  }
  void OnRequest(std::unique_ptr<Http2Stream> stream, const HeaderFields&, size_t) override {
    stream->Respond(200, false);
    Use(std::move(stream));
  }
  void OnResponse(uint32_t) override {
    // Responses come in the order of requests.
    Use(std::move(streams[used]));
  }
  void OnStreamReset(const StreamReset&) override {}
  void Use(std::unique_ptr<TunnelStream> stream) {
    relays.push_back(RelayTunnel(&worker, std::make_unique<AppSocket>(&loop, std::move(sockets[used++])), std::move(stream), this));
  }
  void OnEnd(const SessionEnd&) override { _exit(0); }
  void OnRelayEnded(Ended) override {}
  void OnLingered() override {}

  template <typename Part>
  static Part& Unused() {
    alignas(16) static char storage[1024];
    return *reinterpret_cast<Part*>(storage);
  }
  Loop loop;
  const Limits limits;
  Worker worker{loop,      Unused<Decider>(), Unused<PodSockets>(), Unused<SockMap>(), Unused<Credentials>(), Unused<TunnelPool>(),
                limits};
  std::vector<Fd> sockets;
  std::vector<std::unique_ptr<Http2Stream>> streams;
  std::vector<std::unique_ptr<Relay>> relays;
  size_t used = 0;
  bool is_server;
  std::unique_ptr<Session> session;
};

bool ReadAll(int fd, size_t bytes) {
  static thread_local std::vector<char> buffer(1 << 20);
  while (bytes > 0) {
    const ssize_t count = recv(fd, buffer.data(), std::min(bytes, buffer.size()), 0);
    if (count <= 0) return false;
    bytes -= static_cast<size_t>(count);
  }
  return true;
}
bool WriteAll(int fd, const char* from, size_t bytes) {
  while (bytes > 0) {
    const ssize_t count = send(fd, from, bytes, MSG_NOSIGNAL);
    if (count <= 0) return false;
    from += count;
    bytes -= static_cast<size_t>(count);
  }
  return true;
}

struct Bench {
  std::vector<Fd> client, server;
  pid_t pids[2];
  double seconds;
  std::atomic<bool> is_over{false};
  std::vector<char> text = std::vector<char>(1 << 20, 'x');

  double Cpu() const {
    double total = 0;
    for (const pid_t pid : pids) {
      clockid_t clock;
      clock_getcpuclockid(pid, &clock);
      total += Seconds(clock);
    }
    return total;
  }
  // Round trips on stream `i` until the time is over; latencies in us.
  std::vector<double> RoundTrips(size_t i, size_t bytes) {
    std::thread echo([&] {
      std::vector<char> message(bytes);
      for (;;) {
        for (size_t at = 0; at < bytes;) {
          const ssize_t count = recv(server[i].get(), message.data() + at, bytes - at, 0);
          if (count <= 0) return;
          at += static_cast<size_t>(count);
        }
        if (message[0] == 'E' || !WriteAll(server[i].get(), text.data(), bytes)) return;
      }
    });
    std::vector<double> all;
    while (!is_over) {
      const double began = Seconds(CLOCK_MONOTONIC);
      WriteAll(client[i].get(), text.data(), bytes);
      ReadAll(client[i].get(), bytes);
      all.push_back((Seconds(CLOCK_MONOTONIC) - began) * 1e6);
    }
    WriteAll(client[i].get(), std::string(bytes, 'E').data(), bytes);
    echo.join();
    std::sort(all.begin(), all.end());
    return all;
  }
  void Trips(const char* name, size_t bytes, size_t bulk) {
    is_over = false;
    std::atomic<uint64_t> moved{0};
    std::vector<std::thread> threads;
    for (size_t i = 1; i <= bulk; i++) {
      threads.emplace_back([&, i] {
        while (!is_over) WriteAll(client[i].get(), text.data(), 64 << 10);
        // The reader ends by this.
        WriteAll(client[i].get(), "E", 1);
      });
      threads.emplace_back([&, i] {
        std::vector<char> buffer(256 << 10);
        for (;;) {
          const ssize_t count = recv(server[i].get(), buffer.data(), buffer.size(), 0);
          if (count <= 0) return;
          moved += static_cast<uint64_t>(count);
          if (buffer[static_cast<size_t>(count) - 1] == 'E') return;
        }
      });
    }
    usleep(100'000);
    const double cpu = Cpu();
    const uint64_t before = moved;
    std::thread timer([&] {
      usleep(static_cast<useconds_t>(seconds * 1e6));
      is_over = true;
    });
    std::vector<double> all;
    if (bytes > 0) all = RoundTrips(0, bytes);
    timer.join();
    const double used = Cpu() - cpu;
    const double gb = static_cast<double>(moved - before) / 1e9;
    printf("%-28s", name);
    if (!all.empty())
      printf(" %8.0f/s  p50 %6.0f us  p99 %6.0f us", static_cast<double>(all.size()) / seconds, all[all.size() / 2],
             all[all.size() * 99 / 100]);
    if (bulk == 0) printf("  CPU %5.1f us each", used / static_cast<double>(all.size()) * 1e6);
    if (bulk > 0) printf("  %5.2f Gbit/s  CPU %5.2f s/GB", gb * 8 / seconds, used / gb);
    printf("\n");
    fflush(stdout);
    for (std::thread& thread : threads) thread.join();
  }
};
}  // namespace

int main(int argc, char** argv) {
  Bench bench;
  bench.seconds = argc > 1 ? atof(argv[1]) : 2;
  std::vector<Fd> of_client, of_server;
  for (int i = 0; i < kStreams; i++) {
    for (auto [mine, theirs] : {std::pair{&bench.client, &of_client}, std::pair{&bench.server, &of_server}}) {
      auto [a, b] = TcpPair();
      fcntl(a.get(), F_SETFL, 0);
      const int on = 1;
      setsockopt(a.get(), IPPROTO_TCP, 1, &on, sizeof(on));
      setsockopt(b.get(), IPPROTO_TCP, 1, &on, sizeof(on));
      mine->push_back(std::move(a));
      theirs->push_back(std::move(b));
    }
  }
  auto [left, right] = TcpPair();
  Ca ca;
  Credentials credentials;
  credentials.Keep({kClient, kServer}, kDomain);
  ca.Issue(&credentials, kClient);
  ca.Issue(&credentials, kServer);
  for (const bool is_server : {false, true}) {
    bench.pids[is_server] = fork();
    if (bench.pids[is_server] != 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Side side(std::move(is_server ? of_server : of_client), std::move(is_server ? right : left), &credentials, is_server);
    side.loop.Run();
  }
  usleep(300'000);
  bench.Trips("128 B round trips", 128, 0);
  bench.Trips("64 KiB round trips", 64 << 10, 0);
  bench.Trips("1 bulk stream", 0, 1);
  bench.Trips("15 bulk streams", 0, 15);
  bench.Trips("128 B beside 15 bulk", 128, 15);
  for (const pid_t pid : bench.pids) kill(pid, SIGKILL);
}
