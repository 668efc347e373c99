// SPDX-License-Identifier: Apache-2.0
#include "base/loop.h"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <thread>

namespace weft {
namespace {

struct Counter : Pollable {
  void OnReady(uint32_t ready) override {
    count++;
    events |= ready;
    if (call) call();
  }
  int count = 0;
  uint32_t events = 0;
  std::function<void()> call;
};

struct Pair {
  Pair() {
    int fds[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    a = Fd(fds[0]);
    b = Fd(fds[1]);
  }
  Fd a, b;
};

TEST_CASE("timers run in the order of their time, and not after Cancel") {
  Loop loop;
  std::vector<int> order;
  loop.After(4, [&] { order.push_back(2); });
  loop.After(1, [&] { order.push_back(1); });
  Loop::TimerId third = loop.After(2, [&] { order.push_back(3); });
  loop.Cancel(&third);
  CHECK(third == 0);
  loop.Cancel(&third);
  while (order.size() < 2) loop.RunOnce(-1);
  CHECK(order == std::vector<int>{1, 2});
}

TEST_CASE("a timer that sets itself anew does not hold the loop") {
  Loop loop;
  int count = 0;
  std::function<void()> again = [&] {
    count++;
    loop.After(0, again);
  };
  loop.After(0, again);
  loop.RunOnce(0);
  loop.RunOnce(0);
  CHECK(count == 2);
}

TEST_CASE("a removed descriptor gets no event of the same turn") {
  Loop loop;
  Pair first, second;
  Counter one, two;
  REQUIRE(loop.Add(first.a.get(), &one, EPOLLIN));
  REQUIRE(loop.Add(second.a.get(), &two, EPOLLIN));
  // Whichever comes first removes the other.
  one.call = [&] { loop.Remove(second.a.get(), &two); };
  two.call = [&] { loop.Remove(first.a.get(), &one); };
  CHECK(write(first.b.get(), "x", 1) == 1);
  CHECK(write(second.b.get(), "x", 1) == 1);
  loop.RunOnce(0);
  CHECK(one.count + two.count == 1);
}

TEST_CASE("a forgotten descriptor is out of epoll once it is closed") {
  Loop loop;
  Pair pair;
  Counter counter;
  REQUIRE(loop.Add(pair.a.get(), &counter));
  loop.RunOnce(0);
  counter.count = 0;
  loop.Forget(&counter);
  pair.a.Close();
  CHECK(send(pair.b.get(), "x", 1, MSG_NOSIGNAL) == -1);
  loop.RunOnce(0);
  CHECK(counter.count == 0);
}

struct Work : TurnEnd {
  void OnTurnEnd() override {
    count++;
    if (call) call();
  }
  int count = 0;
  std::function<void()> call;
};

TEST_CASE("work at the turn's end runs once in this turn, work for the next turn in the next one") {
  Loop loop;
  Work now, next;
  now.call = [&] { loop.NextTurn(&next); };
  loop.AtTurnEnd(&now);
  loop.AtTurnEnd(&now);
  loop.RunOnce(-1);
  CHECK(now.count == 1);
  CHECK(next.count == 0);
  loop.RunOnce(-1);
  CHECK(next.count == 1);
  // One that schedules itself for the next turn runs once a turn.
  next.call = [&] { loop.NextTurn(&next); };
  loop.NextTurn(&next);
  loop.RunOnce(-1);
  loop.RunOnce(-1);
  CHECK(next.count == 3);
  loop.CancelTurnEnd(&next);
  loop.RunOnce(0);
  CHECK(next.count == 3);
}

struct Gone : Disposable {
  explicit Gone(int* count) : count(count) {}
  ~Gone() override { ++*count; }
  int* count;
};

TEST_CASE("disposed objects live until the turn's end") {
  Loop loop;
  int count = 0;
  Work work;
  work.call = [&] {
    loop.Dispose(std::make_unique<Gone>(&count));
    CHECK(count == 0);
  };
  loop.AtTurnEnd(&work);
  loop.RunOnce(0);
  CHECK(count == 1);
  {
    Loop other;
    other.Dispose(std::make_unique<Gone>(&count));
  }
  CHECK(count == 2);
}

TEST_CASE("calls of other threads run in the loop") {
  Loop loop;
  int count = 0;
  std::thread other([&] {
    for (int i = 0; i < 1000; i++) loop.Post([&] { count++; });
    loop.Post([&] { loop.Stop(); });
  });
  loop.Run();
  other.join();
  CHECK(count == 1000);
}

}  // namespace
}  // namespace weft
