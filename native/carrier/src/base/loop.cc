// SPDX-License-Identifier: Apache-2.0
#include "base/loop.h"

#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/clock.h"

namespace weft {

namespace {
constexpr int kEventsMax = 256;
}  // namespace

struct Loop::Wake : Pollable {
  explicit Wake(Loop* loop) : loop(loop) {}
  void OnReady(uint32_t) override {
    uint64_t count;
    (void)!read(loop->wake_.get(), &count, sizeof(count));
    loop->RunPosted();
  }
  Loop* loop;
};

Loop::Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), events_(kEventsMax) {
  wake_pollable_ = std::make_unique<Wake>(this);
  // Without its epoll instance the process can do nothing at all.
  if (!epoll_.valid() || !wake_.valid() || !Add(wake_.get(), wake_pollable_.get(), EPOLLIN)) {
    fprintf(stderr, "weft-carrier: no event loop: %s\n", strerror(errno));
    abort();
  }
  now_ms_ = BootMs();
}

Loop::~Loop() {
  // What these own may use the loop while it is destroyed.
  posted_.clear();
  timer_by_id_.clear();
  timers_.clear();
  while (!disposed_.empty()) {
    std::vector<std::unique_ptr<Disposable>> gone;
    gone.swap(disposed_);
  }
}

bool Loop::Add(int fd, Pollable* pollable, uint32_t events) {
  epoll_event event{};
  event.events = events != 0 ? events : EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = pollable;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Loop::Remove(int fd, Pollable* pollable) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  Forget(pollable);
}

void Loop::Forget(Pollable* pollable) {
  for (int i = 0; i < ready_; i++)
    if (events_[i].data.ptr == pollable) events_[i].data.ptr = nullptr;
}

Loop::TimerId Loop::After(uint64_t delay_ms, std::function<void()> call) {
  const TimerId id = ++last_timer_;
  timer_by_id_[id] = timers_.emplace(now_ms_ + delay_ms, std::make_pair(id, std::move(call)));
  return id;
}

void Loop::Cancel(TimerId* timer) {
  const auto found = timer_by_id_.find(*timer);
  *timer = 0;
  if (found == timer_by_id_.end()) return;
  timers_.erase(found->second);
  timer_by_id_.erase(found);
}

void Loop::AtTurnEnd(TurnEnd* work) {
  if (work->is_scheduled_) return;
  work->is_scheduled_ = true;
  turn_ends_.push_back(work);
}

void Loop::NextTurn(TurnEnd* work) {
  if (work->is_scheduled_) return;
  work->is_scheduled_ = true;
  next_turn_.push_back(work);
}

void Loop::CancelTurnEnd(TurnEnd* work) {
  if (!work->is_scheduled_) return;
  work->is_scheduled_ = false;
  std::replace(next_turn_.begin(), next_turn_.end(), work, static_cast<TurnEnd*>(nullptr));
  std::replace(turn_ends_.begin(), turn_ends_.end(), work, static_cast<TurnEnd*>(nullptr));
}

void Loop::Dispose(std::unique_ptr<Disposable> object) { disposed_.push_back(std::move(object)); }

void Loop::Post(std::function<void()> call) {
  bool was_empty;
  {
    std::lock_guard lock(posted_mutex_);
    was_empty = posted_.empty();
    posted_.push_back(std::move(call));
  }
  const uint64_t one = 1;
  if (was_empty) (void)!write(wake_.get(), &one, sizeof(one));
}

void Loop::RunPosted() {
  std::vector<std::function<void()>> calls;
  {
    std::lock_guard lock(posted_mutex_);
    calls.swap(posted_);
  }
  for (const auto& call : calls) call();
}

void Loop::RunTimers() {
  // A timer that is set meanwhile waits for the next turn: one that sets itself anew without a delay would hold the loop.
  const TimerId last = last_timer_;
  while (!timers_.empty() && timers_.begin()->first <= now_ms_) {
    const auto first = timers_.begin();
    if (first->second.first > last) break;
    const auto call = std::move(first->second.second);
    timer_by_id_.erase(first->second.first);
    timers_.erase(first);
    call();
  }
}

int Loop::WaitMs(int limit_ms) const {
  if (!turn_ends_.empty() || !next_turn_.empty()) return 0;
  if (timers_.empty()) return limit_ms;
  const uint64_t due = timers_.begin()->first;
  const uint64_t left = due > now_ms_ ? due - now_ms_ : 0;
  const int wait = static_cast<int>(std::min<uint64_t>(left, 3'600'000));
  return limit_ms < 0 ? wait : std::min(wait, limit_ms);
}

void Loop::RunOnce(int wait_ms) {
  const int count = epoll_wait(epoll_.get(), events_.data(), kEventsMax, WaitMs(wait_ms));
  now_ms_ = BootMs();
  turn_++;
  // What others schedule in this turn comes after what waits since the last one.
  turn_ends_.insert(turn_ends_.end(), next_turn_.begin(), next_turn_.end());
  next_turn_.clear();
  ready_ = std::max(count, 0);
  for (int i = 0; i < ready_; i++)
    if (auto* pollable = static_cast<Pollable*>(events_[i].data.ptr)) pollable->OnReady(events_[i].events);
  ready_ = 0;
  RunTimers();
  // Work that is scheduled meanwhile runs in the same turn, so that what it writes is not delayed.
  for (size_t i = 0; i < turn_ends_.size(); i++) {
    TurnEnd* const work = turn_ends_[i];
    if (!work) continue;
    turn_ends_[i] = nullptr;
    work->is_scheduled_ = false;
    work->OnTurnEnd();
  }
  turn_ends_.clear();
  while (!disposed_.empty()) {
    std::vector<std::unique_ptr<Disposable>> gone;
    gone.swap(disposed_);
  }
}

void Loop::Run() {
  while (!is_stopped_) RunOnce(-1);
}

}  // namespace weft
