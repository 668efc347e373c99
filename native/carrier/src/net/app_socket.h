// SPDX-License-Identifier: Apache-2.0
// A connected TCP socket of an application, as one end of a relay. It owns the descriptor and its registration in the loop.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "base/fd.h"
#include "base/loop.h"

namespace weft {

class AppSocketUser {
 public:
  virtual ~AppSocketUser() = default;
  // There may be bytes to read, or an end (Pull says which).
  virtual void OnReadable() = 0;
  // Buffered bytes were written: `bytes` since the last call. All of them are written if socket.buffered() is 0.
  virtual void OnWritten(size_t bytes) = 0;
  // The peer reset the connection, or a write failed. What the peer sent before can still be pulled. Called once.
  virtual void OnReset(int error) = 0;
};

class AppSocket : public Pollable {
 public:
  static constexpr ssize_t kLater = -1;   // nothing to read now: OnReadable follows
  static constexpr ssize_t kFailed = -2;  // reset: everything received before it was pulled

  AppSocket(Loop* loop, Fd socket);
  ~AppSocket() override;
  // Registers in the loop. False: errno is set.
  bool Start(AppSocketUser* user);

  // recv(): bytes, 0 at the end (FIN), kLater or kFailed.
  ssize_t Pull(uint8_t* to, size_t bytes_max);
  // Whether Pull may return something other than kLater.
  bool may_pull() const { return may_pull_; }

  // Writes what the kernel takes and buffers a copy of the rest: keep `buffered` within the sender's window. Returns the bytes written at
  // once. Discards everything after a reset.
  size_t Push(const iovec* parts, int count);
  size_t buffered() const { return buffered_bytes_; }
  // A FIN after the buffered bytes. Before it, the reset on close is lifted: it could overtake bytes in flight.
  void PushEnd();
  bool has_pushed_end() const { return has_sent_end_; }
  bool was_reset() const { return was_reset_; }

  // RST now. The descriptor is closed.
  void Reset();
  // Closes. The close is orderly if both ends were seen, else it resets.
  void Close();
  int fd() const { return fd_.get(); }

  void OnReady(uint32_t events) override;

 private:
  struct Buffer;
  void Flush();
  void Fail(int error);

  Loop* loop_;
  Fd fd_;
  AppSocketUser* user_ = nullptr;
  Buffer* buffer_ = nullptr;
  size_t buffered_bytes_ = 0;
  bool may_pull_ = true;
  bool may_push_ = true;
  bool wants_end_ = false;
  bool has_sent_end_ = false;
  bool has_seen_end_ = false;
  bool was_reset_ = false;
};

}  // namespace weft
