// SPDX-License-Identifier: Apache-2.0
#include "http2/stream.h"

#include <algorithm>

#include "base/clock.h"
#include "http2/connection.h"
#include "http2/memory.h"

namespace weft {

namespace {
// The stream whose user is being called; null once it is deleted.
thread_local const Http2Stream* delivering = nullptr;
}  // namespace

Http2Stream::Http2Stream(Http2Connection* connection, int32_t id, uint32_t window)
    : connection_(connection), id_(id), window_(window), pod_(connection->pod_) {
  connection->streams_.push_back(this);
}

Http2Stream::~Http2Stream() {
  if (delivering == this) delivering = nullptr;
  Reset(NGHTTP2_CANCEL);
  Release(unconsumed_);
  StreamMemory::OfThread().windows.Release(pod_, window_taken_);
  if (!connection_) return;
  // Also if it is closed: at a connection's end nghttp2 still has the stream, and may still send its queued request.
  nghttp2_session_set_stream_user_data(connection_->session_, id_, nullptr);
  std::erase(connection_->streams_, this);
  if (is_pending_) std::replace(connection_->pending_.begin(), connection_->pending_.end(), this, static_cast<Http2Stream*>(nullptr));
}

void Http2Stream::Respond(uint32_t status, bool is_end) {
  if (connection_) connection_->Respond(this, status, is_end);
}

void Http2Stream::Start(TunnelStreamUser* user) {
  user_ = user;
  listener_ = nullptr;
  if (!connection_) return;
  if (!is_closed_) {
    nghttp2_data_provider provider{};
    provider.source.ptr = this;
    provider.read_callback = [](nghttp2_session*, int32_t, uint8_t*, size_t bytes_max, uint32_t* flags, nghttp2_data_source* source,
                                void* connection) -> ssize_t {
      auto* const stream = static_cast<Http2Stream*>(source->ptr);
      auto* const from = static_cast<Http2Connection*>(connection);
      if (from->is_batch_full()) return NGHTTP2_ERR_PAUSE;
      *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
      // Behind the frame's header, which send_data_callback writes.
      const ssize_t bytes = from->Find(stream->id_) == stream ? stream->Pull(from->produce_at_ + Http2Connection::kFrameHeadBytes, bytes_max) : TunnelStreamUser::kLater;
      if (bytes > 0) return bytes;
      if (bytes < 0) return NGHTTP2_ERR_DEFERRED;
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      return 0;
    };
    nghttp2_submit_data(connection_->session_, NGHTTP2_FLAG_END_STREAM, id_, &provider);
  }
  connection_->Queue(this);
  connection_->owner_->WantsFlush();
}

ssize_t Http2Stream::Pull(uint8_t* to, size_t bytes_max) {
  is_deferred_ = false;
  const ssize_t bytes = user_ ? user_->OnPull(to, bytes_max) : TunnelStreamUser::kLater;
  if (bytes >= 0) return bytes;
  is_deferred_ = true;
  if (bytes == TunnelStreamUser::kFailed) Reset(NGHTTP2_CANCEL);
  return TunnelStreamUser::kLater;
}

void Http2Stream::Wake() {
  if (!connection_ || is_closed_ || !is_deferred_) return;
  is_deferred_ = false;
  nghttp2_session_resume_data(connection_->session_, id_);
  connection_->owner_->WantsFlush();
}

void Http2Stream::OnChunk(const uint8_t* bytes, size_t count) {
  unconsumed_ += count;
  connection_->buffered_ += count;
  if (user_) {
    user_->OnData(bytes, count);
    has_data_ = true;
    connection_->Queue(this);
  } else {
    early_.append(reinterpret_cast<const char*>(bytes), count);
  }
  StreamMemory::OfThread().AddBuffered(count);
}

void Http2Stream::Deliver() {
  delivering = this;
  const auto is_over = [this] { return delivering != this || !user_; };
  if (!user_) {
    if (is_closed_ && !is_finished_ && listener_ && !is_over_delivered_) {
      is_over_delivered_ = true;
      listener_->OnStreamReset(reset_);
    }
    delivering = nullptr;
    return;
  }
  std::string early;
  if (!early_.empty()) {
    early.swap(early_);
    user_->OnData(reinterpret_cast<const uint8_t*>(early.data()), early.size());
    has_data_ = true;
  }
  if (!is_over() && has_data_) {
    has_data_ = false;
    user_->OnBatchEnd();
  }
  if (!is_over() && is_remote_ended_ && !is_end_delivered_) {
    is_end_delivered_ = true;
    user_->OnEnd();
  }
  if (!is_over() && is_closed_ && !is_over_delivered_) {
    is_over_delivered_ = true;
    TunnelStreamUser* const user = std::exchange(user_, nullptr);
    // Not before the batch was delivered: what a quick reader has taken by now needs no share.
    may_linger_ = Linger();
    if (is_finished_)
      user->OnFinished();
    else
      user->OnReset(reset_.code);
  }
  delivering = nullptr;
}

void Http2Stream::Consume(size_t bytes) {
  Release(bytes);
  if (!connection_ || is_closed_ || is_remote_ended_) return;
  credit_ += bytes;
  if (credit_ < window_ / 2) return;
  GrowWindow();
  nghttp2_session_consume_stream(connection_->session_, id_, credit_);
  credit_ = 0;
  connection_->owner_->WantsFlush();
}

void Http2Stream::Release(size_t bytes) {
  bytes = std::min(bytes, unconsumed_);
  if (bytes == 0) return;
  unconsumed_ -= bytes;
  StreamMemory& memory = StreamMemory::OfThread();
  switch (counted_) {
    case Counted::kBuffered:
      memory.RemoveBuffered(bytes);
      connection_->buffered_ -= bytes;
      return;
    case Counted::kLingering:
      memory.lingering.Release(pod_, bytes);
      if (connection_ && !is_finished_) connection_->unread_ -= bytes;
      return;
    case Counted::kNowhere:
      return;
  }
}

void Http2Stream::Uncount() {
  const size_t unconsumed = unconsumed_;
  Release(unconsumed);
  unconsumed_ = unconsumed;
  counted_ = Counted::kNowhere;
}

// Of a closed stream. False: its unread bytes cannot wait for the reader.
bool Http2Stream::Linger() {
  if (is_shed_) return false;
  if (unconsumed_ == 0) return true;
  StreamMemory& memory = StreamMemory::OfThread();
  uint64_t* const unread = connection_ && !is_finished_ ? &connection_->unread_ : nullptr;
  if ((unread && *unread + unconsumed_ > CurrentTunnelLimits().unread_bytes_max) || !memory.lingering.Take(pod_, unconsumed_)) {
    memory.Reached("linger");
    return false;
  }
  if (unread) *unread += unconsumed_;
  counted_ = Counted::kLingering;
  return true;
}

// The window, and not the reader, limits the sender if half of it is used within two round trips.
void Http2Stream::GrowWindow() {
  const uint64_t now = MonotonicUs();
  const uint64_t passed = now - std::exchange(updated_us_, now);
  const uint32_t max = CurrentTunnelLimits().stream_window_bytes_max;
  if (window_ >= max || passed > 2 * connection_->owner_->RttUs()) return;
  const uint32_t more = std::min(window_, max - window_);
  if (!StreamMemory::OfThread().windows.Take(pod_, more)) return;
  window_taken_ += more;
  window_ += more;
  nghttp2_session_set_local_window_size(connection_->session_, NGHTTP2_FLAG_NONE, id_, static_cast<int32_t>(window_));
}

void Http2Stream::Reset(uint32_t code) {
  user_ = nullptr;
  listener_ = nullptr;
  if (!connection_ || is_closed_) return;
  is_closed_ = true;
  Uncount();
  nghttp2_session_set_stream_user_data(connection_->session_, id_, nullptr);
  nghttp2_submit_rst_stream(connection_->session_, NGHTTP2_FLAG_NONE, id_, code);
  may_linger_ = false;
  connection_->owner_->WantsFlush();
}

void Http2Stream::Close(const StreamReset& reset) {
  if (is_closed_) return;
  is_closed_ = true;
  reset_ = reset;
  Uncount();
  connection_->Queue(this);
}

}  // namespace weft
