// SPDX-License-Identifier: Apache-2.0
#include "net/app_socket.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "base/reset_on_close.h"

namespace weft {

namespace {
constexpr size_t kChunkBytes = 64 << 10;
constexpr size_t kPartsMax = 64;
constexpr int kPartsOfPushMax = 1024;  // IOV_MAX
constexpr size_t kDiscardBytes = 64 << 10;
constexpr int kDiscardsMax = 16;
constexpr uint64_t kDeliveryCheckMsMax = 100;
constexpr uint32_t kEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;

ssize_t Send(int socket, iovec* parts, size_t count) {
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  ssize_t sent;
  do sent = count == 1 ? send(socket, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL) : sendmsg(socket, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent;
}
}  // namespace

struct AppSocket::Buffer {
  struct Chunk {
    std::unique_ptr<uint8_t[]> bytes;
    size_t begin, end, size;
  };
  std::deque<Chunk> chunks;

  void Append(const uint8_t* from, size_t count) {
    while (count > 0) {
      if (chunks.empty() || chunks.back().end == chunks.back().size) {
        // A lone rest of a message takes no more than its size.
        const size_t size = chunks.empty() ? std::min(count, kChunkBytes) : kChunkBytes;
        chunks.push_back({std::unique_ptr<uint8_t[]>(new uint8_t[size]), 0, 0, size});
      }
      Chunk& last = chunks.back();
      const size_t part = std::min(count, last.size - last.end);
      memcpy(last.bytes.get() + last.end, from, part);
      last.end += part;
      from += part;
      count -= part;
    }
  }
  void Drop(size_t count) {
    while (count > 0) {
      Chunk& first = chunks.front();
      const size_t part = std::min(count, first.end - first.begin);
      first.begin += part;
      count -= part;
      if (first.begin == first.end) chunks.pop_front();
    }
  }
};

struct AppSocket::Delivery {
  std::function<void(bool)> done;
  Loop::TimerId limit_timer = 0;
  Loop::TimerId check_timer = 0;
  uint64_t check_ms = 1;
};

AppSocket::AppSocket(Loop* loop, Fd socket) : loop_(loop), fd_(std::move(socket)) {}

AppSocket::~AppSocket() {
  if (gone_) *gone_ = true;
  Close();
  loop_->CancelTurnEnd(this);
}

int AppSocket::Connect(const Address& to) {
  sockaddr_storage address;
  const socklen_t length = ToSockaddr(to, &address, true);
  if (connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 && errno != EINPROGRESS) return errno;
  is_connecting_ = true;
  return 0;
}

bool AppSocket::Start(AppSocketUser* user) {
  user_ = user;
  has_reported_reset_ = false;
  if (!is_registered_) return is_registered_ = loop_->Add(fd_.get(), this, kEvents);
  if (may_pull_ || was_reset_) loop_->AtTurnEnd(this);
  return true;
}

ssize_t AppSocket::Pull(uint8_t* to, size_t bytes_max) {
  if (has_pulled_failure_) return kFailed;
  if (has_pulled_end_) return 0;
  if (is_at_end_) {
    has_pulled_end_ = true;
    may_pull_ = false;
    return 0;
  }
  if (!may_pull_ || bytes_max == 0 || !fd_.valid()) return kLater;
  ssize_t count;
  do count = recv(fd_.get(), to, bytes_max, 0);
  while (count < 0 && errno == EINTR);
  if (count > 0) {
    if (static_cast<size_t>(count) < bytes_max && !has_urgent_ && !was_reset_) {
      // The FIN was there before these bytes were read, so it is next: another recv() would only say so.
      is_at_end_ = is_end_queued_;
      may_pull_ = is_at_end_;
    }
    return count;
  }
  if (count < 0 && errno == EAGAIN) {
    may_pull_ = false;
    return kLater;
  }
  // The error of a reset is reported once. If a write got it, reads see an end. EPIPE means that the FIN came before the reset.
  if (count < 0 || (error_ != 0 && error_ != EPIPE)) {
    if (count < 0) Fail(errno);
    has_pulled_failure_ = true;
    may_pull_ = false;
    return kFailed;
  }
  has_pulled_end_ = true;
  may_pull_ = false;
  return 0;
}

ssize_t AppSocket::Peek(uint8_t* to, size_t bytes_max) {
  if (has_pulled_failure_ || has_pulled_end_ || is_at_end_ || !may_pull_ || bytes_max == 0 || !fd_.valid()) return Pull(to, bytes_max);
  ssize_t count;
  do count = recv(fd_.get(), to, bytes_max, MSG_PEEK);
  while (count < 0 && errno == EINTR);
  // Pull finds the same end or error, and keeps account of it.
  return count > 0 ? count : Pull(to, bytes_max);
}

void AppSocket::Skip(size_t bytes) {
  while (bytes > 0 && fd_.valid()) {
    // Of TCP: the bytes are dropped and not copied.
    const ssize_t count = recv(fd_.get(), nullptr, bytes, MSG_TRUNC);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    bytes -= static_cast<size_t>(count);
  }
}

bool AppSocket::HasUnread() const {
  int count = 0;
  return fd_.valid() && ioctl(fd_.get(), FIONREAD, &count) == 0 && count > 0;
}

size_t AppSocket::Push(const iovec* parts, int count) {
  if (was_reset_ || wants_end_ || !fd_.valid()) return 0;
  size_t sent = 0;
  int part = 0;
  size_t offset = 0;  // within parts[part]
  while (part < count && buffered_bytes_ == 0 && may_push_) {
    const int some = std::min(count - part, kPartsOfPushMax);
    size_t wanted = 0;
    for (int i = part; i < part + some; i++) wanted += parts[i].iov_len;
    if (wanted == 0) return sent;
    const ssize_t written = Send(fd_.get(), const_cast<iovec*>(parts + part), static_cast<size_t>(some));
    if (written < 0 && errno != EAGAIN) {
      Fail(errno);
      return sent;
    }
    size_t left = written < 0 ? 0 : static_cast<size_t>(written);
    // EPOLLOUT follows once there is room.
    if (left < wanted) may_push_ = false;
    sent += left;
    while (part < count && left >= parts[part].iov_len) left -= parts[part++].iov_len;
    offset = left;
    if (!may_push_) break;
  }
  for (; part < count; part++, offset = 0) {
    const size_t rest = parts[part].iov_len - offset;
    if (rest == 0) continue;
    if (!buffer_) buffer_ = std::make_unique<Buffer>();
    buffer_->Append(static_cast<const uint8_t*>(parts[part].iov_base) + offset, rest);
    buffered_bytes_ += rest;
  }
  return sent;
}

size_t AppSocket::PushNow(const uint8_t* bytes, size_t count) {
  if (was_reset_ || wants_end_ || !fd_.valid()) return 0;
  size_t sent = 0;
  if (may_push_ && buffered_bytes_ == 0) {
    iovec part = {const_cast<uint8_t*>(bytes), count};
    const ssize_t written = Send(fd_.get(), &part, 1);
    if (written < 0 && errno != EAGAIN) {
      Fail(errno);
      return 0;
    }
    sent = written < 0 ? 0 : static_cast<size_t>(written);
    if (sent < count) may_push_ = false;
  }
  wants_room_ = sent < count;
  return sent;
}

void AppSocket::Flush() {
  while (buffered_bytes_ > 0 && may_push_) {
    iovec parts[kPartsMax];
    size_t count = 0, wanted = 0;
    for (const Buffer::Chunk& chunk : buffer_->chunks) {
      if (count == kPartsMax) break;
      parts[count++] = {chunk.bytes.get() + chunk.begin, chunk.end - chunk.begin};
      wanted += chunk.end - chunk.begin;
    }
    const ssize_t written = Send(fd_.get(), parts, count);
    if (written < 0 && errno != EAGAIN) return Fail(errno);
    if (written < static_cast<ssize_t>(wanted)) may_push_ = false;
    if (written <= 0) return;
    buffer_->Drop(static_cast<size_t>(written));
    buffered_bytes_ -= static_cast<size_t>(written);
  }
  if (buffered_bytes_ > 0) return;
  buffer_.reset();
  if (wants_end_ && !has_sent_end_) SendEnd();
}

void AppSocket::PushEnd() {
  if (wants_end_ || was_reset_ || !fd_.valid()) return;
  wants_end_ = true;
  if (buffered_bytes_ == 0) SendEnd();
}

void AppSocket::SendEnd() {
  SetResetOnClose(fd_.get(), false);
  resets_on_close_ = false;
  has_sent_end_ = true;
  // Nothing unread is left, so close() sends the FIN.
  if (has_pulled_end_)
    CloseFd();
  else
    shutdown(fd_.get(), SHUT_WR);
}

// A failed write or read. The user is notified at the turn's end, because this may be within its call.
void AppSocket::Fail(int error) {
  if (error_ == 0) error_ = error;
  buffer_.reset();
  buffered_bytes_ = 0;
  if (!was_reset_) loop_->AtTurnEnd(this);
  was_reset_ = true;
  if (!has_pulled_end_) may_pull_ = true;
}

void AppSocket::CloseFd() {
  if (!fd_.valid()) return;
  // No other process or descriptor refers to it: accepted here, or from the broker, which has closed its own.
  if (is_registered_) loop_->Forget(this);
  fd_.Close();
  buffer_.reset();
  buffered_bytes_ = 0;
  may_pull_ = false;
  if (delivery_) {
    loop_->Cancel(&delivery_->limit_timer);
    loop_->Cancel(&delivery_->check_timer);
  }
}

void AppSocket::Reset() {
  if (!fd_.valid()) return;
  if (!resets_on_close_) SetResetOnClose(fd_.get(), true);
  CloseFd();
}

void AppSocket::Close() {
  if (has_sent_end_ && has_pulled_end_)
    CloseFd();
  else
    Reset();
}

void AppSocket::ResetOnceDelivered(uint64_t limit_ms, std::function<void(bool in_time)> done) {
  user_ = nullptr;
  if (!fd_.valid() || was_reset_) {
    Reset();
    return done(true);
  }
  delivery_ = std::make_unique<Delivery>();
  delivery_->done = std::move(done);
  delivery_->limit_timer = loop_->After(limit_ms, [this] { Delivered(false); });
  Deliver();
}

void AppSocket::Deliver() {
  static thread_local uint8_t discarded[kDiscardBytes];
  for (int i = 0; may_pull_; i++) {
    if (i == kDiscardsMax) {
      loop_->NextTurn(this);
      break;
    }
    if (Pull(discarded, sizeof(discarded)) <= 0) break;
  }
  if (was_reset_) return Delivered(true);
  if (buffered_bytes_ > 0) return;
  int unacknowledged = 0;
  if (ioctl(fd_.get(), SIOCOUTQ, &unacknowledged) != 0 || unacknowledged == 0) return Delivered(true);
  if (delivery_->check_timer != 0) return;
  // Nothing says when the peer has acknowledged everything.
  delivery_->check_timer = loop_->After(delivery_->check_ms, [this] {
    delivery_->check_timer = 0;
    delivery_->check_ms = std::min(delivery_->check_ms * 2, kDeliveryCheckMsMax);
    Deliver();
  });
}

void AppSocket::Delivered(bool in_time) {
  const std::function<void(bool)> done = std::move(delivery_->done);
  Reset();
  delivery_.reset();
  // It may destroy this socket.
  done(in_time);
}

void AppSocket::Notify() {
  if (was_reset_ && !has_reported_reset_) {
    has_reported_reset_ = true;
    bool gone = false;
    gone_ = &gone;
    user_->OnReset(error_ != 0 ? error_ : ECONNRESET);
    if (gone) return;
    gone_ = nullptr;
  }
  if (may_pull_ && user_) user_->OnReadable();
}

void AppSocket::OnTurnEnd() {
  if (!fd_.valid()) return;
  if (delivery_) return Deliver();
  if (user_ && !is_connecting_) Notify();
}

void AppSocket::OnReady(uint32_t events) {
  if (!fd_.valid()) return;
  bool was_connecting = is_connecting_;
  if (is_connecting_) {
    if (events & (EPOLLERR | EPOLLHUP)) {
      int error = 0;
      socklen_t length = sizeof(error);
      getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
      is_connecting_ = false;
      user_->OnConnected(error != 0 ? error : ECONNRESET);
      return;
    }
    if (!(events & EPOLLOUT)) return;
    is_connecting_ = false;
  }
  if (events & EPOLLPRI) has_urgent_ = true;
  if (events & EPOLLERR) {
    was_reset_ = true;
    buffer_.reset();
    buffered_bytes_ = 0;
  } else if (events & (EPOLLRDHUP | EPOLLHUP)) {
    is_end_queued_ = true;
  }
  const bool is_readable = events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) && !has_pulled_end_ && !has_pulled_failure_;
  if (is_readable) may_pull_ = true;
  if (was_connecting) {
    if (may_pull_) loop_->AtTurnEnd(this);
    user_->OnConnected(0);
    return;
  }
  if (events & EPOLLOUT && !may_push_ && !was_reset_) {
    may_push_ = true;
    const size_t before = buffered_bytes_;
    Flush();
    const size_t written = before - buffered_bytes_;
    if ((written > 0 || wants_room_) && !was_reset_ && user_) {
      wants_room_ = false;
      bool gone = false;
      gone_ = &gone;
      user_->OnWritten(written);
      if (gone) return;
      gone_ = nullptr;
      if (!fd_.valid()) return;
    }
  }
  if (delivery_) return Deliver();
  if (user_ && (is_readable || (was_reset_ && !has_reported_reset_))) Notify();
}

}  // namespace weft
