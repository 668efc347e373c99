// SPDX-License-Identifier: Apache-2.0
#include "http2/closing_socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <unordered_map>

namespace weft {

namespace {
constexpr uint64_t kLingerMs = 1'000;
constexpr size_t kSocketsMax = 512;

class ClosingSocket final : public Pollable, public Disposable {
 public:
  ClosingSocket(Loop* loop, Fd socket) : loop_(loop), socket_(std::move(socket)) {}

  // Of this thread.
  static std::unordered_map<ClosingSocket*, std::unique_ptr<ClosingSocket>>& All() {
    static thread_local std::unordered_map<ClosingSocket*, std::unique_ptr<ClosingSocket>> all;
    return all;
  }

  static void Begin(std::unique_ptr<ClosingSocket> self) {
    ClosingSocket* const raw = self.get();
    if (!raw->loop_->Add(raw->socket_.get(), raw)) return;
    raw->timer_ = raw->loop_->After(kLingerMs, [raw] { raw->Finish(); });
    All().emplace(raw, std::move(self));
    raw->OnReady(EPOLLIN);
  }

  void OnReady(uint32_t) override {
    uint8_t dropped[16 << 10];
    // A peer that goes on sending is cut off by the timer at the latest.
    for (int i = 0; i < 64; i++) {
      const ssize_t count = recv(socket_.get(), dropped, sizeof(dropped), 0);
      if (count > 0 || (count < 0 && errno == EINTR)) continue;
      if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
      return Finish();
    }
    Finish();
  }

 private:
  void Finish() {
    const auto self = All().find(this);
    if (self == All().end()) return;
    loop_->Cancel(&timer_);
    loop_->Remove(socket_.get(), this);
    socket_.Close();
    loop_->Dispose(std::move(self->second));
    All().erase(self);
  }

  Loop* loop_;
  Fd socket_;
  Loop::TimerId timer_ = 0;
};
}  // namespace

void LingerAndClose(Loop* loop, Fd socket) {
  if (ClosingSocket::All().size() < kSocketsMax) ClosingSocket::Begin(std::make_unique<ClosingSocket>(loop, std::move(socket)));
}

}  // namespace weft
