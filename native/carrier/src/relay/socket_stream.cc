// SPDX-License-Identifier: Apache-2.0
// The relay between an application's socket and a stream of a tunnel. Toward the stream bytes are pulled: nghttp2 asks, and they are
// received straight into the frame. Toward the socket the chunks of one read of the connection are written together.
#include <array>
#include <vector>

#include "base/loop.h"
#include "http2/tunnel_stream.h"
#include "relay/relay.h"
#include "worker.h"

namespace weft {

namespace {
constexpr uint32_t kCancel = 8;  // RFC 9113, section 7
constexpr size_t kDroppedBytes = 16 << 10;

class SocketStream final : public Relay, private AppSocketUser, private TunnelStreamUser, private TurnEnd {
 public:
  SocketStream(Worker* worker, std::unique_ptr<AppSocket> socket, std::unique_ptr<TunnelStream> stream, RelayOwner* owner)
      : worker_(worker), socket_(std::move(socket)), stream_(std::move(stream)), owner_(owner) {}

  ~SocketStream() override {
    worker_->loop.Cancel(&timer_);
    worker_->loop.CancelTurnEnd(this);
  }

  void Start() {
    if (!socket_->Start(this)) {
      was_socket_reset_ = true;
      ended_ = Ended::kPodReset;
    }
    stream_->Start(this);
    // A socket that was reset before, or one that could not be registered.
    worker_->loop.AtTurnEnd(this);
  }

  uint64_t bytes_sent() const override { return sent_; }
  uint64_t bytes_received() const override { return received_; }

  void Cut() override {
    if (is_over_) return;
    if (ended_ == Ended::kNone) ended_ = Ended::kCut;
    CloseStream();
    CloseSocket();
    Finish();
  }

 private:
  // ---- the application

  void OnReadable() override {
    if (is_stream_open_)
      stream_->Wake();
    else
      Drop();
  }

  void OnWritten(size_t bytes) override {
    if (is_stream_open_ || left_ > 0) Consumed(bytes);
    if (socket_->buffered() > 0) return;
    if (!is_stream_open_ && !is_finished_) CloseSocket();
    worker_->loop.AtTurnEnd(this);
  }

  void OnReset(int) override { SocketFailed(); }

  // ---- the tunnel

  ssize_t OnPull(uint8_t* to, size_t bytes_max) override {
    const ssize_t count = socket_->Pull(to, bytes_max);
    if (count > 0) {
      sent_ += static_cast<uint64_t>(count);
      return count;
    }
    if (count == AppSocket::kLater) {
      // What the application sent before its reset was pulled.
      return was_socket_reset_ && !socket_->may_pull() ? EndByPod() : TunnelStreamUser::kLater;
    }
    if (count < 0) return EndByPod();
    has_pod_ended_ = true;
    worker_->loop.AtTurnEnd(this);
    return 0;
  }

  void OnData(const uint8_t* bytes, size_t count) override {
    if (parts_.empty()) waiting_bytes_ = 0;
    // Frames of one record are often neighbors, apart from their headers.
    parts_.push_back({const_cast<uint8_t*>(bytes), count});
    waiting_bytes_ += count;
  }

  void OnBatchEnd() override {
    const size_t count = waiting_bytes_;
    waiting_bytes_ = 0;
    if (was_socket_reset_ || socket_->was_reset() || !is_socket_open_) {
      parts_.clear();
      if (is_stream_open_) stream_->Consume(count);
      return;
    }
    received_ += count;
    const size_t written = socket_->Push(parts_.data(), static_cast<int>(parts_.size()));
    parts_.clear();
    if (parts_.capacity() > kPartsKept) parts_.shrink_to_fit();
    left_ += count;
    // After a reset everything is discarded.
    Consumed(socket_->was_reset() ? left_ : std::min(written, left_));
  }

  void OnEnd() override {
    has_peer_ended_ = true;
    if (is_socket_open_ && !was_socket_reset_) socket_->PushEnd();
    worker_->loop.AtTurnEnd(this);
  }

  // The peer reset the stream: what it sent before is still delivered.
  void OnReset(uint32_t) override {
    is_stream_open_ = false;
    if (ended_ == Ended::kNone) ended_ = Ended::kPeerReset;
    if (socket_->buffered() == 0 || was_socket_reset_ || !stream_->may_linger()) {
      CloseSocket();
    } else {
      Linger();
      Drop();
    }
    worker_->loop.AtTurnEnd(this);
  }

  void OnFinished() override {
    is_stream_open_ = false;
    is_finished_ = true;
    worker_->loop.AtTurnEnd(this);
  }

  // ---- both

  void SocketFailed() {
    if (was_socket_reset_) return;
    was_socket_reset_ = true;
    if (ended_ == Ended::kNone) ended_ = Ended::kPodReset;
    Consumed(left_);
    if (is_stream_open_) {
      // The rest of what the application sent goes first. A closed window could hold it back for ever.
      stream_->Wake();
      Linger();
    }
    worker_->loop.AtTurnEnd(this);
  }

  ssize_t EndByPod() {
    if (ended_ == Ended::kNone) ended_ = Ended::kPodReset;
    was_socket_reset_ = true;
    is_stream_open_ = false;
    worker_->loop.AtTurnEnd(this);
    return TunnelStreamUser::kFailed;
  }

  void Consumed(size_t bytes) {
    bytes = std::min(bytes, left_);
    left_ -= bytes;
    if (bytes > 0) stream_->Consume(bytes);
  }

  // Discards what the application sends: if it blocks on writing, it would otherwise never get to read.
  void Drop() {
    std::array<uint8_t, kDroppedBytes> dropped;
    for (int i = 0; i < 16; i++)
      if (const ssize_t count = socket_->Pull(dropped.data(), dropped.size()); count <= 0) return;
  }

  void Linger() {
    if (timer_ != 0) return;
    timer_ = worker_->loop.After(worker_->limits.linger_ms_max, [this] {
      timer_ = 0;
      owner_->OnLingered();
      CloseStream();
      CloseSocket();
      Finish();
    });
  }

  void CloseStream() {
    if (!std::exchange(is_stream_open_, false)) return;
    stream_->Reset(kCancel);
  }

  void CloseSocket() {
    if (!std::exchange(is_socket_open_, false)) return;
    if (!was_socket_reset_) socket_->Reset();
    was_socket_reset_ = true;
  }

  void OnTurnEnd() override {
    if (is_over_) return;
    if (!is_stream_open_ && was_socket_reset_) CloseSocket();
    if (!is_stream_open_ && !is_socket_open_) return Finish();
    // The pod's end is read when END_STREAM is sent, so a finished stream waits for the socket's last bytes only.
    if (is_finished_ && socket_->buffered() == 0 && socket_->has_pushed_end()) {
      is_socket_open_ = false;
      socket_->Close();
      Finish();
    }
  }

  void Finish() {
    if (std::exchange(is_over_, true)) return;
    worker_->loop.Cancel(&timer_);
    worker_->loop.CancelTurnEnd(this);
    owner_->OnRelayEnded(ended_ == Ended::kNone ? Ended::kFinished : ended_);
  }

  static constexpr size_t kPartsKept = 64;

  Worker* worker_;
  std::unique_ptr<AppSocket> socket_;
  std::unique_ptr<TunnelStream> stream_;
  RelayOwner* owner_;
  std::vector<iovec> parts_;
  size_t waiting_bytes_ = 0;
  size_t left_ = 0;  // in the socket's buffer, and not consumed
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  Ended ended_ = Ended::kNone;
  Loop::TimerId timer_ = 0;
  bool is_stream_open_ = true;
  bool is_socket_open_ = true;
  bool has_pod_ended_ = false;
  bool has_peer_ended_ = false;
  bool is_finished_ = false;
  bool was_socket_reset_ = false;
  bool is_over_ = false;
};
}  // namespace

std::unique_ptr<Relay> RelayTunnel(Worker* worker, std::unique_ptr<AppSocket> pod, std::unique_ptr<TunnelStream> stream,
                                   RelayOwner* owner) {
  auto relay = std::make_unique<SocketStream>(worker, std::move(pod), std::move(stream), owner);
  relay->Start();
  return relay;
}

}  // namespace weft
