// SPDX-License-Identifier: Apache-2.0
#include "net/pod_sockets.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#include <set>
#include <thread>

#include "base/netns.h"
#include "net/broker.h"
#include "net/broker_client.h"
#include "net/test_sockets.h"

namespace weft {
namespace {

struct Netns {
  Fd fd;
  uint64_t cookie = 0;
};

// A new network namespace if this process may create one, else its own.
Netns MakeNetns() {
  Netns made;
  std::thread([&] {
    (void)!unshare(CLONE_NEWNET);
    made.fd = Fd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    made.cookie = NetnsCookie(socket.get());
  }).join();
  return made;
}

int OptionOf(int socket, int level, int name) {
  int value = 0;
  socklen_t length = sizeof(value);
  REQUIRE(getsockopt(socket, level, name, &value, &length) == 0);
  return value;
}

struct Fixture {
  explicit Fixture(size_t workers = 1) {
    std::string why;
    broker = BrokerProcess::Start(workers, &why);
    REQUIRE_MESSAGE(broker, why);
    client = std::make_unique<BrokerClient>(&loop, broker->TakeChannel(0), [this] { deaths++; });
    sockets = std::make_unique<PodSockets>(&loop, client.get());
  }
  Fd Take(PodKey pod, bool v4 = true) {
    Fd taken;
    int calls = 0;
    auto request = sockets->Take(pod, v4, [&](Fd socket, int error) {
      calls++;
      taken = std::move(socket);
      last_error = error;
    });
    CHECK(RunUntil(&loop, [&] { return calls > 0; }));
    CHECK(calls == 1);
    return taken;
  }
  Loop loop;
  int deaths = 0, last_error = 0;
  std::unique_ptr<BrokerProcess> broker;
  std::unique_ptr<BrokerClient> client;
  std::unique_ptr<PodSockets> sockets;
};

TEST_CASE_FIXTURE(Fixture, "sockets of the pod's network namespace, with their options") {
  Netns one = MakeNetns(), two = MakeNetns();
  sockets->AddPod(one.cookie, std::move(one.fd));
  sockets->AddPod(two.cookie, std::move(two.fd));
  for (const bool v4 : {true, false}) {
    for (const uint64_t pod : {one.cookie, two.cookie}) {
      const Fd socket = Take(pod, v4);
      REQUIRE(socket.valid());
      CHECK(NetnsCookie(socket.get()) == pod);
      CHECK(OptionOf(socket.get(), SOL_SOCKET, SO_DOMAIN) == (v4 ? AF_INET : AF_INET6));
      CHECK(OptionOf(socket.get(), IPPROTO_TCP, TCP_NODELAY) != 0);
      CHECK(OptionOf(socket.get(), SOL_SOCKET, SO_KEEPALIVE) != 0);
      CHECK(OptionOf(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE) == 180);
      linger value;
      socklen_t length = sizeof(value);
      REQUIRE(getsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &value, &length) == 0);
      CHECK(value.l_onoff == 1);
      CHECK(value.l_linger == 0);
      CHECK((fcntl(socket.get(), F_GETFL) & O_NONBLOCK) != 0);
      CHECK((fcntl(socket.get(), F_GETFD) & FD_CLOEXEC) != 0);
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "a busy pod gets its sockets from the stock, without waiting") {
  Netns one = MakeNetns();
  sockets->AddPod(one.cookie, std::move(one.fd));
  int at_once = 0;
  std::set<int> numbers;
  std::vector<Fd> taken;
  for (int i = 0; i < 500; i++) {
    bool is_within = true;
    int calls = 0;
    auto request = sockets->Take(one.cookie, true, [&](Fd socket, int error) {
      calls++;
      CHECK(error == 0);
      if (is_within) at_once++;
      CHECK(numbers.insert(socket.get()).second);
      taken.push_back(std::move(socket));
    });
    is_within = false;
    CHECK(RunUntil(&loop, [&] { return calls == 1; }));
    // As a connection takes some time.
    usleep(200);
    loop.RunOnce(0);
  }
  CHECK(at_once > 400);
}

TEST_CASE_FIXTURE(Fixture, "a pod that is not there, and one that leaves") {
  CHECK(!Take(12345).valid());
  CHECK(last_error == ESTALE);
  Netns one = MakeNetns();
  sockets->AddPod(one.cookie, std::move(one.fd));
  int error = 0;
  auto request = sockets->Take(one.cookie, true, [&](Fd, int value) { error = value; });
  sockets->RemovePod(one.cookie);
  CHECK(error == ESTALE);
  request.reset();
  RunFor(&loop, 20);
}

TEST_CASE_FIXTURE(Fixture, "a network namespace that is not the pod's, or no namespace, gives no socket") {
  Netns one = MakeNetns();
  sockets->AddPod(one.cookie + 1'000'000, std::move(one.fd));
  CHECK(!Take(one.cookie + 1'000'000).valid());
  CHECK(last_error == ESTALE);
  sockets->AddPod(7, Fd(open("/dev/null", O_RDONLY | O_CLOEXEC)));
  CHECK(!Take(7).valid());
  CHECK(last_error == ESTALE);
  CHECK(deaths == 0);
}

TEST_CASE_FIXTURE(Fixture, "a request that is destroyed is not called back") {
  Netns one = MakeNetns();
  sockets->AddPod(one.cookie, std::move(one.fd));
  int calls = 0;
  auto request = sockets->Take(one.cookie, true, [&](Fd, int) { calls++; });
  REQUIRE(request);
  request.reset();
  RunFor(&loop, 30);
  CHECK(calls == 0);
  CHECK(Take(one.cookie).valid());
}

// Sockets of the pod that this process holds.
int HeldOf(PodKey pod) {
  int held = 0;
  for (int fd = 0; fd < 1024; fd++) {
    uint64_t cookie = 0;
    socklen_t length = sizeof(cookie);
    int type = 0;
    socklen_t type_length = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_length) != 0 || type != SOCK_STREAM) continue;
    if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) == 0 && cookie == pod) held++;
  }
  return held;
}

TEST_CASE("sockets that the broker makes late, when their stock was closed, are closed") {
  Fixture fixture;
  Netns one = MakeNetns(), two = MakeNetns();
  // Without rights both are the process's own namespace.
  if (one.cookie == two.cookie) return;
  fixture.sockets.reset();
  fixture.sockets = std::make_unique<PodSockets>(&fixture.loop, fixture.client.get(), 20);
  fixture.sockets->AddPod(one.cookie, std::move(one.fd));
  fixture.sockets->AddPod(two.cookie, std::move(two.fd));
  kill(fixture.broker->pid(), SIGSTOP);
  Fd taken;
  auto request = fixture.sockets->Take(one.cookie, true, [&](Fd socket, int) { taken = std::move(socket); });
  SUBCASE("nobody waits any more") { request.reset(); }
  SUBCASE("the request waited meanwhile") {}
  RunFor(&fixture.loop, 100);
  kill(fixture.broker->pid(), SIGCONT);
  if (request) {
    CHECK(RunUntil(&fixture.loop, [&] { return taken.valid(); }));
  } else {
    // The broker answers in order.
    CHECK(fixture.Take(two.cookie).valid());
    CHECK(!taken.valid());
  }
  RunFor(&fixture.loop, 100);
  CHECK(HeldOf(one.cookie) == (request ? 1 : 0));
  CHECK(HeldOf(two.cookie) == 0);
}

TEST_CASE_FIXTURE(Fixture, "without room for descriptors a request fails, and later ones succeed") {
  Netns one = MakeNetns();
  sockets->AddPod(one.cookie, std::move(one.fd));
  rlimit before;
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  const Fd highest(dup(0));
  rlimit low = {static_cast<rlim_t>(highest.get() + 1), before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
  const Fd none = Take(one.cookie);
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(!none.valid());
  CHECK(last_error == EMFILE);
  CHECK(Take(one.cookie).valid());
  CHECK(deaths == 0);
}

TEST_CASE("one pod does not starve another") {
  Fixture fixture(2);
  Netns one = MakeNetns(), two = MakeNetns();
  fixture.sockets->AddPod(one.cookie, std::move(one.fd));
  fixture.sockets->AddPod(two.cookie, std::move(two.fd));
  int of_one = 0;
  std::vector<std::unique_ptr<PodSockets::Request>> requests;
  for (int i = 0; i < 5000; i++) requests.push_back(fixture.sockets->Take(one.cookie, true, [&](Fd, int) { of_one++; }));
  CHECK(fixture.Take(two.cookie).valid());
  CHECK(of_one < 200);
  CHECK(RunUntil(&fixture.loop, [&] { return of_one == 5000; }));
}

TEST_CASE_FIXTURE(Fixture, "the death of the broker is reported once") {
  kill(broker->pid(), SIGKILL);
  CHECK(RunUntil(&loop, [&] { return deaths > 0; }));
  RunFor(&loop, 10);
  CHECK(deaths == 1);
  sockets->AddPod(1, Fd());
  auto request = sockets->Take(1, true, [](Fd, int) {});
}

}  // namespace
}  // namespace weft
