// SPDX-License-Identifier: Apache-2.0
// The relay between an application's socket and a stream of a tunnel. Toward the stream bytes are pulled: nghttp2 asks, and they are
// received straight into the frame. Toward the socket the chunks of one read of the connection are written together.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/loop.h"
#include "http2/tunnel_stream.h"
#include "observe/http_watch.h"
#include "relay/relay.h"
#include "worker.h"

namespace weft {

namespace {
constexpr uint32_t kCancel = 8;  // RFC 9113, section 7

class SocketStream final : public Relay, private AppSocketUser, private TunnelStreamUser, private TurnEnd {
 public:
  SocketStream(Worker* worker, std::unique_ptr<AppSocket> socket, std::unique_ptr<TunnelStream> stream, RelayOwner* owner,
               HttpWatch* watch)
      : worker_(worker), loop_(&worker->loop), socket_(std::move(socket)), stream_(std::move(stream)), owner_(owner), watch_(watch) {}

  ~SocketStream() override {
    loop_->Cancel(&timer_);
    loop_->CancelTurnEnd(this);
  }

  void Start() {
    stream_->Start(this);
    socket_->Start(this);
  }

  uint64_t bytes_sent() const override { return sent_; }
  uint64_t bytes_received() const override { return received_; }

  void Cut() override {
    if (is_over_) return;
    if (ended_ == Ended::kNone) ended_ = Ended::kCut;
    socket_->Reset();
    if (std::exchange(is_stream_open_, false)) stream_->Reset(kCancel);
    Finish();
  }

 private:
  // ---- the application

  void OnReadable() override {
    if (is_stream_open_) stream_->Wake();
  }

  void OnWritten(size_t bytes) override {
    Consumed(bytes);
    EndIfComplete();
  }

  // It accepts no more. What it sent before is still delivered: a server that responds early and closes resets right after its response.
  void OnReset(int) override {
    Consumed(left_);
    if (socket_->has_pulled_end() || !socket_->may_pull()) return PodFailed();
    // The stream's window may stay closed.
    if (timer_ != 0) return;
    timer_ = loop_->After(worker_->limits.linger_ms_max, [this] {
      timer_ = 0;
      owner_->OnLingered();
      PodFailed();
    });
  }

  // ---- the tunnel

  ssize_t OnPull(uint8_t* to, size_t bytes_max) override {
    const ssize_t count = socket_->Pull(to, bytes_max);
    if (count > 0) {
      sent_ += static_cast<uint64_t>(count);
      if (watch_) watch_->Sent(to, static_cast<size_t>(count));
      return count;
    }
    if (count == AppSocket::kLater) return TunnelStreamUser::kLater;
    // Its failure is handled at the turn's end: the stream is in a call.
    if (count == AppSocket::kFailed || socket_->was_reset()) {
      has_pod_failed_ = true;
      loop_->AtTurnEnd(this);
    }
    return count == 0 ? 0 : TunnelStreamUser::kLater;
  }

  void OnData(const uint8_t* bytes, size_t count) override {
    parts_.push_back({const_cast<uint8_t*>(bytes), count});
    waiting_bytes_ += count;
    if (watch_) watch_->Received(bytes, count);
  }

  void OnBatchEnd() override {
    const size_t count = std::exchange(waiting_bytes_, 0);
    left_ += count;
    size_t written = count;
    if (!socket_->was_reset()) {
      received_ += count;
      written = socket_->Push(parts_.data(), static_cast<int>(parts_.size()));
      // A failed write discards everything.
      if (socket_->was_reset()) written = left_;
    }
    parts_.clear();
    if (parts_.capacity() > kPartsKept) parts_.shrink_to_fit();
    Consumed(written);
  }

  void OnEnd() override { socket_->PushEnd(); }

  // What the peer sent before the reset is still delivered.
  void OnReset(uint32_t) override {
    is_stream_open_ = false;
    Deliver(Ended::kPeerReset, stream_->may_linger());
  }

  void OnFinished() override {
    is_stream_open_ = false;
    is_finished_ = true;
    // An end after a part of the bytes would look complete.
    if (left_ > 0 && !stream_->may_linger()) {
      owner_->OnUnread();
      return Deliver(Ended::kCut, false);
    }
    EndIfComplete();
  }

  // ---- both

  void PodFailed() {
    if (is_over_ || is_delivering_) return;
    ended_ = ended_ == Ended::kNone ? Ended::kPodReset : ended_;
    socket_->Reset();
    if (std::exchange(is_stream_open_, false)) stream_->Reset(kCancel);
    Finish();
  }

  void Deliver(Ended ended, bool may_wait) {
    if (is_over_ || is_delivering_) return;
    if (ended_ == Ended::kNone) ended_ = ended;
    if (!may_wait || socket_->was_reset()) {
      socket_->Reset();
      return Finish();
    }
    is_delivering_ = true;
    loop_->Cancel(&timer_);
    socket_->ResetOnceDelivered(worker_->limits.linger_ms_max, [this](bool in_time) {
      if (!in_time) owner_->OnLingered();
      Finish();
    });
  }

  void Consumed(size_t bytes) {
    bytes = std::min(bytes, left_);
    left_ -= bytes;
    if (bytes > 0) stream_->Consume(bytes);
  }

  void EndIfComplete() {
    if (!is_finished_ || is_delivering_ || !socket_->has_pushed_end()) return;
    socket_->Close();
    Finish();
  }

  void OnTurnEnd() override {
    if (has_pod_failed_) PodFailed();
  }

  void Finish() {
    if (std::exchange(is_over_, true)) return;
    loop_->Cancel(&timer_);
    loop_->CancelTurnEnd(this);
    owner_->OnRelayEnded(ended_ == Ended::kNone ? Ended::kFinished : ended_);
  }

  static constexpr size_t kPartsKept = 64;

  Worker* worker_;
  // The relay is deleted after the turn, maybe after its worker.
  Loop* loop_;
  std::unique_ptr<AppSocket> socket_;
  std::unique_ptr<TunnelStream> stream_;
  RelayOwner* owner_;
  HttpWatch* const watch_;
  std::vector<iovec> parts_;
  size_t waiting_bytes_ = 0;
  size_t left_ = 0;  // in the socket's buffer, and not consumed
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  Ended ended_ = Ended::kNone;
  Loop::TimerId timer_ = 0;
  bool is_stream_open_ = true;
  bool has_pod_failed_ = false;
  // Both directions of the stream have ended.
  bool is_finished_ = false;
  // The stream was reset, and the application gets what is left.
  bool is_delivering_ = false;
  bool is_over_ = false;
};
}  // namespace

std::unique_ptr<Relay> RelayTunnel(Worker* worker, std::unique_ptr<AppSocket> pod, std::unique_ptr<TunnelStream> stream,
                                   RelayOwner* owner, HttpWatch* watch) {
  auto relay = std::make_unique<SocketStream>(worker, std::move(pod), std::move(stream), owner, watch);
  relay->Start();
  return relay;
}

}  // namespace weft
