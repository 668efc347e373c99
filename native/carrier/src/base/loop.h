// SPDX-License-Identifier: Apache-2.0
// The event loop of one thread. Edge-triggered epoll: each descriptor is registered once, so readiness costs no further system call.
// Everything here is for the loop's own thread, except Post.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/fd.h"

namespace weft {

class Pollable {
 public:
  virtual ~Pollable() = default;
  // EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR. Edge-triggered: read until a short read or EAGAIN.
  virtual void OnReady(uint32_t events) = 0;
};

// Work at the end of a turn of the loop, after all ready descriptors: a session flushes there what many flows wrote in the turn.
class TurnEnd {
 public:
  virtual ~TurnEnd() = default;
  virtual void OnTurnEnd() = 0;

 private:
  friend class Loop;
  bool is_scheduled_ = false;
};

// An object whose deletion waits until nothing of this turn can refer to it.
class Disposable {
 public:
  virtual ~Disposable() = default;
};

class Loop {
 public:
  using TimerId = uint64_t;  // 0 is none

  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET if `events` is 0. False: errno is set (ENOSPC: the user's limit of epoll watches).
  bool Add(int fd, Pollable* pollable, uint32_t events = 0);
  // Call before the descriptor is closed. No event of this turn reaches the pollable any more.
  void Remove(int fd, Pollable* pollable);
  // Remove without a system call: the descriptor is closed next, and nothing else refers to its open file description, so that closing it
  // removes it from epoll.
  void Forget(Pollable* pollable);

  // Calls once after `delay_ms`. Precision is that of epoll_wait: 1 ms.
  TimerId After(uint64_t delay_ms, std::function<void()> call);
  void Cancel(TimerId* timer);

  // Idempotent within a turn.
  void AtTurnEnd(TurnEnd* work);
  // At the end of the next turn, which does not wait: others get their turn in between. Nothing if the work is scheduled.
  void NextTurn(TurnEnd* work);
  void CancelTurnEnd(TurnEnd* work);
  // Deletes the object after the turn.
  void Dispose(std::unique_ptr<Disposable> object);

  // From any thread: runs the call in the loop.
  void Post(std::function<void()> call);

  // Milliseconds of CLOCK_BOOTTIME at the beginning of this turn.
  uint64_t now_ms() const { return now_ms_; }
  // Counts the turns.
  uint64_t turn() const { return turn_; }
  // Runs until Stop.
  void Run();
  // One turn: waits at most `wait_ms` (-1: no limit).
  void RunOnce(int wait_ms);
  void Stop() { is_stopped_ = true; }

 private:
  struct Wake;
  void RunTimers();
  void RunPosted();
  int WaitMs(int limit_ms) const;

  Fd epoll_;
  Fd wake_;
  std::unique_ptr<Wake> wake_pollable_;
  uint64_t now_ms_ = 0;
  uint64_t turn_ = 0;
  bool is_stopped_ = false;
  std::vector<epoll_event> events_;
  int ready_ = 0;
  std::multimap<uint64_t, std::pair<TimerId, std::function<void()>>> timers_;
  std::map<TimerId, decltype(timers_)::iterator> timer_by_id_;
  TimerId last_timer_ = 0;
  std::vector<TurnEnd*> turn_ends_;
  std::vector<TurnEnd*> next_turn_;
  std::vector<std::unique_ptr<Disposable>> disposed_;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace weft
