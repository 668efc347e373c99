// SPDX-License-Identifier: Apache-2.0
// A TCP socket of an application, as one end of a relay. It owns the descriptor and its registration in the loop.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/address.h"
#include "base/fd.h"
#include "base/loop.h"

namespace weft {

class AppSocketUser {
 public:
  virtual ~AppSocketUser() = default;
  // There may be bytes to read, or an end (Pull says which).
  virtual void OnReadable() = 0;
  // Buffered bytes were written: `bytes` since the last call. All of them are written if socket.buffered() is 0. After PushNow: there is room.
  virtual void OnWritten(size_t bytes) = 0;
  // The peer reset the connection, or a write failed. What the peer sent before can still be pulled. Called once for each user, never
  // within a call of the socket. OnReadable follows.
  virtual void OnReset(int error) = 0;
  // The end of Connect: an errno, or 0.
  virtual void OnConnected(int) {}
};

// The user may destroy the socket in any of its calls.
class AppSocket : public Pollable, private TurnEnd {
 public:
  static constexpr ssize_t kLater = -1;   // nothing to read now: OnReadable follows
  static constexpr ssize_t kFailed = -2;  // reset: everything received before it was pulled

  // The kernel resets the connection if the descriptor is closed before PushEnd (SO_LINGER 0, of the listener or of PodSockets).
  AppSocket(Loop* loop, Fd socket);
  ~AppSocket() override;

  // Before Start: connects. OnConnected follows if the result is 0, else it is an errno.
  int Connect(const Address& to);
  // Registers in the loop. False: errno is set. A later call replaces the user, which gets at the turn's end the events of its
  // predecessor: OnReset after a reset, OnReadable if may_pull().
  bool Start(AppSocketUser* user);

  // recv(): bytes, 0 at the end (FIN), kLater or kFailed.
  ssize_t Pull(uint8_t* to, size_t bytes_max);
  // As Pull, but what is received stays in the kernel, until Skip.
  ssize_t Peek(uint8_t* to, size_t bytes_max);
  // Drops bytes that Peek has returned.
  void Skip(size_t bytes);
  // Whether Pull may return something other than kLater.
  bool may_pull() const { return may_pull_; }
  // Whether the kernel holds bytes that can be pulled: a system call.
  bool HasUnread() const;

  // Writes what the kernel takes and buffers a copy of the rest: keep `buffered` within the sender's window. Returns the bytes written at
  // once. Discards everything after a reset.
  size_t Push(const iovec* parts, int count);
  // As Push, but the rest is the caller's: OnWritten (of 0 bytes) follows once the kernel takes more.
  size_t PushNow(const uint8_t* bytes, size_t count);
  size_t buffered() const { return buffered_bytes_; }
  // PushNow left a rest, and the kernel still takes nothing.
  bool wants_room() const { return wants_room_ && !was_reset_; }
  // A FIN after the buffered bytes. Before it, the reset on close is lifted: it could overtake bytes in flight. A socket whose peer has
  // ended as well closes instead, which is the same on the wire.
  void PushEnd();
  // The FIN was handed to the kernel.
  bool has_pushed_end() const { return has_sent_end_; }
  // Pull has returned 0.
  bool has_pulled_end() const { return has_pulled_end_; }
  bool was_reset() const { return was_reset_; }
  bool is_closed() const { return !fd_.valid(); }

  // RST now. The descriptor is closed.
  void Reset();
  // Resets once the peer's kernel has everything that was pushed, or after `limit_ms`. What the peer sends meanwhile is discarded: one that
  // blocks on writing would never get to read. The user gets no further call; `done` says whether it was in time, maybe within this call.
  void ResetOnceDelivered(uint64_t limit_ms, std::function<void(bool in_time)> done);
  // Closes. The close is orderly if both ends were seen, else it resets.
  void Close();
  int fd() const { return fd_.get(); }

  void OnReady(uint32_t events) override;

 private:
  struct Buffer;
  struct Delivery;
  void OnTurnEnd() override;
  void Notify();
  void Flush();
  void SendEnd();
  void Fail(int error);
  void Deliver();
  void Delivered(bool in_time);
  void CloseFd();

  Loop* loop_;
  Fd fd_;
  AppSocketUser* user_ = nullptr;
  // Allocated while there is something in it.
  std::unique_ptr<Buffer> buffer_;
  std::unique_ptr<Delivery> delivery_;
  // Set by the destructor: tells a caller on the stack that this object is gone.
  bool* gone_ = nullptr;
  size_t buffered_bytes_ = 0;
  int error_ = 0;
  bool is_registered_ : 1 = false;
  bool is_connecting_ : 1 = false;
  bool may_pull_ : 1 = false;
  bool may_push_ : 1 = true;
  bool wants_room_ : 1 = false;
  // Urgent data splits reads, so that a short read does not mean that the queue is empty.
  bool has_urgent_ : 1 = false;
  // The kernel has the peer's FIN: nothing follows what is in the queue.
  bool is_end_queued_ : 1 = false;
  // Everything before that FIN was pulled.
  bool is_at_end_ : 1 = false;
  bool wants_end_ : 1 = false;
  bool has_sent_end_ : 1 = false;
  bool has_pulled_end_ : 1 = false;
  bool has_pulled_failure_ : 1 = false;
  bool was_reset_ : 1 = false;
  bool has_reported_reset_ : 1 = false;
  bool resets_on_close_ : 1 = true;
};

}  // namespace weft
