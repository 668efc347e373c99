// SPDX-License-Identifier: Apache-2.0
#include <sys/uio.h>

#include <algorithm>
#include <array>

#include "base/loop.h"
#include "http2/memory.h"
#include "observe/http_watch.h"
#include "relay/relay.h"
#include "worker.h"

namespace weft {

namespace {

constexpr size_t kReadBytes = 128 << 10;
// With less room than this for what may have to wait, nothing is read before it is sent.
constexpr size_t kRoomMin = 8 << 10;
// Bytes that one direction moves before other flows get their turn.
constexpr size_t kTurnBytesMax = 1 << 20;
// The same while its requests are counted: fields of HTTP/2 cost some 40 ns a byte, a hundred times what a byte costs that is only moved.
constexpr size_t kWatchedTurnBytesMax = kReadBytes;

class SocketPair : public Relay, private TurnEnd {
 public:
  SocketPair(Worker* worker, PodKey pod_key, std::unique_ptr<AppSocket> pod, std::unique_ptr<AppSocket> peer, RelayOwner* owner,
             HttpWatch* watch)
      : worker_(worker),
        loop_(&worker->loop),
        owner_(owner),
        watch_(watch),
        pod_key_(pod_key),
        pod_(this, std::move(pod), Ended::kPodReset),
        peer_(this, std::move(peer), Ended::kPeerReset) {
    pod_.other = &peer_;
    peer_.other = &pod_;
    pod_.socket->Start(&pod_);
    peer_.socket->Start(&peer_);
  }
  ~SocketPair() override {
    loop_->Cancel(&linger_timer_);
    loop_->CancelTurnEnd(this);
  }

  uint64_t bytes_sent() const override { return pod_.bytes; }
  uint64_t bytes_received() const override { return peer_.bytes; }

  void Cut() override {
    if (is_ended_) return;
    // What ended the flow first names its end.
    if (ended_ == Ended::kNone) ended_ = Ended::kCut;
    pod_.socket->Reset();
    peer_.socket->Reset();
    End();
  }

 private:
  struct Side : AppSocketUser {
    Side(SocketPair* pair, std::unique_ptr<AppSocket> socket, Ended reset) : pair(pair), socket(std::move(socket)), reset(reset) {}
    ~Side() override { StreamMemory::OfThread().pairs.Release(pair->pod_key_, counted); }
    void OnReadable() override { pair->Pump(this); }
    void OnWritten(size_t) override {
      Count();
      pair->Pump(other);
      pair->EndIfComplete();
    }
    void OnReset(int) override {
      Count();
      pair->OnSideReset(this);
    }
    // Brings the count of the bytes that wait in the socket up to date.
    void Count() {
      PodShares& memory = StreamMemory::OfThread().pairs;
      const size_t now = socket->buffered();
      if (now < counted) memory.Release(pair->pod_key_, counted - now);
      // There was room for it before it was read.
      if (now > counted) memory.Take(pair->pod_key_, now - counted);
      counted = now;
    }

    SocketPair* pair;
    std::unique_ptr<AppSocket> socket;
    // What this side's reset makes of the flow.
    Ended reset;
    Side* other = nullptr;
    uint64_t bytes = 0;  // read here and passed on
    size_t counted = 0;  // bytes in the socket's buffer, of StreamMemory
  };

  // Moves what `from` has until the other side takes no more.
  void Pump(Side* from) {
    static thread_local std::array<uint8_t, kReadBytes> bytes;
    AppSocket& source = *from->socket;
    AppSocket& target = *from->other->socket;
    const size_t moved_max = watch_ && !watch_->is_over() ? kWatchedTurnBytesMax : kTurnBytesMax;
    size_t moved = 0;
    while (!is_ended_ && !is_delivering_ && source.may_pull()) {
      // One read at most waits beyond the target's send buffer. What a reset target cannot get is discarded, so that a sender that blocks on
      // writing gets to read.
      if (target.buffered() > 0 || target.wants_room()) return;
      if (moved >= moved_max) {
        loop_->NextTurn(this);
        return;
      }
      const size_t room = target.was_reset() ? kReadBytes : std::min<size_t>(kReadBytes, StreamMemory::OfThread().pairs.Room(pod_key_));
      const bool may_wait = room >= kRoomMin;
      const ssize_t count = may_wait ? source.Pull(bytes.data(), room) : source.Peek(bytes.data(), bytes.size());
      if (count == AppSocket::kLater) return;
      if (count == AppSocket::kFailed) return Failed(from);
      if (count == 0) {
        target.PushEnd();
        if (source.was_reset()) return Failed(from);
        EndIfComplete();
        return;
      }
      if (!may_wait) {
        const size_t sent = target.PushNow(bytes.data(), static_cast<size_t>(count));
        source.Skip(sent);
        moved += sent;
        from->bytes += sent;
        if (watch_) Watch(from, bytes.data(), sent);
        if (sent == static_cast<size_t>(count) || target.was_reset()) continue;
        // The rest waits in the kernel, and its sender with it.
        StreamMemory::OfThread().Reached("socket-buffers");
        return;
      }
      moved += static_cast<size_t>(count);
      if (target.was_reset()) continue;
      from->bytes += static_cast<uint64_t>(count);
      if (watch_) Watch(from, bytes.data(), static_cast<size_t>(count));
      const iovec part = {bytes.data(), static_cast<size_t>(count)};
      target.Push(&part, 1);
      from->other->Count();
    }
  }

  void Watch(const Side* from, const uint8_t* bytes, size_t count) {
    if (from == &pod_)
      watch_->Sent(bytes, count);
    else
      watch_->Received(bytes, count);
  }

  void OnTurnEnd() override {
    Pump(&pod_);
    Pump(&peer_);
  }

  // A side accepts no more. What it sent before is still delivered: a server that responds early and closes resets right after its response.
  void OnSideReset(Side* side) {
    if (is_ended_ || is_delivering_) return;
    if (side->socket->has_pulled_end() || !side->socket->may_pull()) return Failed(side);
    if (linger_timer_ == 0) {
      linger_timer_ = loop_->After(worker_->limits.linger_ms_max, [this, side] {
        linger_timer_ = 0;
        if (ended_ == Ended::kNone) ended_ = side->reset;
        Expired();
      });
    }
    // The other side may be blocked in a write that nobody read so far.
    Pump(side->other);
  }

  // Everything that this side sent was pulled, and it was reset.
  void Failed(Side* side) {
    if (is_ended_ || is_delivering_) return;
    is_delivering_ = true;
    loop_->Cancel(&linger_timer_);
    ended_ = side->reset;
    side->socket->Reset();
    side->other->socket->ResetOnceDelivered(worker_->limits.linger_ms_max, [this](bool in_time) {
      if (!in_time) owner_->OnLingered();
      End();
    });
  }

  void Expired() {
    pod_.socket->Reset();
    peer_.socket->Reset();
    owner_->OnLingered();
    End();
  }

  void EndIfComplete() {
    if (is_ended_ || is_delivering_) return;
    for (const Side* side : {&pod_, &peer_})
      if (!side->socket->has_pulled_end() || !side->socket->has_pushed_end()) return;
    pod_.socket->Close();
    peer_.socket->Close();
    ended_ = Ended::kFinished;
    End();
  }

  void End() {
    if (is_ended_) return;
    is_ended_ = true;
    loop_->Cancel(&linger_timer_);
    owner_->OnRelayEnded(ended_);
  }

  Worker* worker_;
  // The relay is deleted after the turn, maybe after its worker.
  Loop* loop_;
  RelayOwner* owner_;
  HttpWatch* const watch_;
  const PodKey pod_key_;
  Side pod_, peer_;
  Loop::TimerId linger_timer_ = 0;
  Ended ended_ = Ended::kNone;
  // One side is gone, the other gets what is left.
  bool is_delivering_ = false;
  bool is_ended_ = false;
};

}  // namespace

std::unique_ptr<Relay> RelaySockets(Worker* worker, PodKey pod_key, std::unique_ptr<AppSocket> pod, std::unique_ptr<AppSocket> peer,
                                    RelayOwner* owner, HttpWatch* watch) {
  return std::make_unique<SocketPair>(worker, pod_key, std::move(pod), std::move(peer), owner, watch);
}

}  // namespace weft
