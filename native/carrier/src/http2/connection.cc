// SPDX-License-Identifier: Apache-2.0
#include "http2/connection.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "base/clock.h"
#include "http2/callbacks.h"
#include "http2/memory.h"

namespace weft {

namespace {
// The largest frame that is no DATA.
constexpr size_t kRoomMin = 20 << 10;
// Frames fill whole TLS records, and some of them leave together.
constexpr size_t kRecordBytes = 16 << 10;
constexpr size_t kBatchBytes = 96 << 10;
constexpr size_t kDebugBytesMax = 128;
// A connection holds the memory of a header list of this size for the next one.
constexpr size_t kListBytesKept = 1 << 10;

nghttp2_nv Field(std::string_view name, std::string_view value) {
  const auto at = [](std::string_view text) { return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data())); };
  return {at(name), at(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

std::string Printable(const uint8_t* bytes, size_t count) {
  std::string text(reinterpret_cast<const char*>(bytes), std::min(count, kDebugBytesMax));
  for (char& c : text)
    if (c < 0x20 || c >= 0x7f) c = '?';
  return text;
}
}  // namespace

Http2Connection::Http2Connection(Loop* loop, Http2Owner* owner, PodKey pod, bool is_server)
    : loop_(loop), owner_(owner), pod_(pod), is_server_(is_server), window_(CurrentTunnelLimits().connection_window_bytes_min) {
  const TunnelLimits& limits = CurrentTunnelLimits();
  if ((is_server ? nghttp2_session_server_new2 : nghttp2_session_client_new2)(&session_, Http2CallbackTable(), this, Http2Options()))
    abort();
  std::vector<nghttp2_settings_entry> settings = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window_bytes_min},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, limits.frame_bytes_max},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, ListBytesMax()},
  };
  if (is_server)
    settings.push_back({NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams_per_connection_server_max});
  else
    settings.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, static_cast<int32_t>(window_));
  StreamMemory::OfThread().Join(this);
}

Http2Connection::~Http2Connection() {
  StreamMemory::OfThread().Leave(this);
  for (Http2Stream* stream : streams_) {
    if (!stream->is_closed_) stream->Uncount();
    stream->connection_ = nullptr;
    stream->is_closed_ = true;
  }
  // The callbacks of closing streams find nothing any more.
  streams_.clear();
  nghttp2_session_del(session_);
}

bool Http2Connection::Receive(const uint8_t* bytes, size_t count) {
  if (is_failed_) return false;
  const ssize_t result = nghttp2_session_mem_recv(session_, bytes, count);
  if (result < 0 && !is_failed_) {
    if (result == NGHTTP2_ERR_FLOODED)
      Flood("frames are queued and the peer does not read");
    else if (result == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
      Fail(NGHTTP2_PROTOCOL_ERROR, "the preface is not that of HTTP/2");
    else
      Fail(NGHTTP2_INTERNAL_ERROR, nghttp2_strerror(static_cast<int>(result)));
  }
  if (consumed_ > 0) {
    GrowConnectionWindow();
    nghttp2_session_consume_connection(session_, std::exchange(consumed_, 0));
  }
  DeliverPending();
  return !is_failed_;
}

size_t Http2Connection::Produce(uint8_t* to, size_t bytes_max) {
  produce_at_ = to;
  produce_end_ = to + bytes_max;
  produce_from_ = to;
  while (static_cast<size_t>(produce_end_ - produce_at_) >= kRoomMin + kFrameHeadBytes &&
         static_cast<size_t>(produce_at_ - to) < kBatchBytes) {
    const uint8_t* frame = nullptr;
    uint8_t* const before = produce_at_;
    const ssize_t bytes = nghttp2_session_mem_send(session_, &frame);
    if (bytes < 0) {
      Fail(NGHTTP2_INTERNAL_ERROR, nghttp2_strerror(static_cast<int>(bytes)));
      break;
    }
    // DATA was put by send_data_callback.
    if (bytes == 0) {
      if (produce_at_ == before) break;
      continue;
    }
    if (bytes > produce_end_ - produce_at_) {
      Fail(NGHTTP2_INTERNAL_ERROR, "a frame is too large");
      break;
    }
    memcpy(produce_at_, frame, static_cast<size_t>(bytes));
    produce_at_ += bytes;
  }
  const auto produced = static_cast<size_t>(produce_at_ - to);
  produce_at_ = produce_end_ = produce_from_ = nullptr;
  return produced;
}

// DATA ends with a TLS record, so that a bulk stream's records are full whatever small frames come before it.
ssize_t Http2Connection::FrameBytesMax(uint32_t peer_max) const {
  const auto at = static_cast<size_t>(produce_at_ - produce_from_) + kFrameHeadBytes;
  size_t end = kBatchBytes;
  while (end < at + kRecordBytes / 2) end += kRecordBytes;
  return static_cast<ssize_t>(std::min<size_t>(end - at, peer_max));
}

// A server reads beyond the limit, so that such a request gets a response and not a reset.
uint32_t Http2Connection::ListBytesMax() const { return (is_server_ ? 4 : 1) * CurrentTunnelLimits().header_list_bytes_max; }

bool Http2Connection::is_batch_full() const { return static_cast<size_t>(produce_at_ - produce_from_) >= kBatchBytes; }

void Http2Connection::DeliverPending() {
  for (size_t i = 0; i < pending_.size(); i++) {
    Http2Stream* const stream = std::exchange(pending_[i], nullptr);
    if (!stream) continue;
    stream->is_pending_ = false;
    stream->Deliver();
  }
  pending_.clear();
}

std::unique_ptr<Http2Stream> Http2Connection::Request(const HeaderFields& fields) {
  if (!can_open()) return nullptr;
  std::vector<nghttp2_nv> list;
  list.reserve(fields.size());
  for (const auto& [name, value] : fields) list.push_back(Field(name, value));
  auto stream = std::make_unique<Http2Stream>(this, 0, CurrentTunnelLimits().stream_window_bytes_min);
  const int32_t id =
      nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, -1, nullptr, list.data(), list.size(), stream.get());
  if (id <= 0) {
    stream->is_closed_ = true;
    return nullptr;
  }
  stream->id_ = id;
  open_++;
  owner_->WantsFlush();
  return stream;
}

void Http2Connection::Respond(Http2Stream* stream, uint32_t status, bool is_end) {
  if (stream->is_closed_) return;
  const std::string text = std::to_string(status);
  const nghttp2_nv list[] = {Field(":status", text)};
  nghttp2_submit_headers(session_, is_end ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE, stream->id_, nullptr, list, 1, nullptr);
  // The user data of the stream stays: it is only set by a request.
  nghttp2_session_set_stream_user_data(session_, stream->id_, is_end ? nullptr : stream);
  if (is_end) {
    // What the peer still sends is discarded.
    stream->is_closed_ = true;
    stream->Uncount();
    stream->may_linger_ = false;
    stream->listener_ = nullptr;
  }
  owner_->WantsFlush();
}

void Http2Connection::Ping() {
  if (nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr) == 0) pings_out_++;
  owner_->WantsFlush();
}

void Http2Connection::SubmitShutdownNotice() {
  nghttp2_submit_shutdown_notice(session_);
  owner_->WantsFlush();
}

void Http2Connection::GoAway(uint32_t code, std::string_view why) {
  has_sent_goaway_ = true;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, is_server_ ? nghttp2_session_get_last_proc_stream_id(session_) : 0, code,
                        reinterpret_cast<const uint8_t*>(why.data()), why.size());
  owner_->WantsFlush();
}

void Http2Connection::CloseStreams(const StreamReset& reset) {
  const auto streams = streams_;
  for (Http2Stream* stream : streams) {
    if (stream->is_closed_) continue;
    StreamReset its = reset;
    its.is_unprocessed = !is_server_ && !stream->has_sent_head_;
    stream->Close(its);
  }
  DeliverPending();
}

void Http2Connection::Shed() {
  Http2Stream* most = nullptr;
  for (Http2Stream* stream : streams_)
    if (!stream->is_closed_ && (!most || stream->unconsumed_ > most->unconsumed_)) most = stream;
  if (!most || most->unconsumed_ == 0) return;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, most->id_, NGHTTP2_ENHANCE_YOUR_CALM);
  nghttp2_session_set_stream_user_data(session_, most->id_, nullptr);
  most->is_shed_ = true;
  most->Close({NGHTTP2_ENHANCE_YOUR_CALM, StreamReset::By::kConnection, false,
               "too much is buffered for streams whose reader is slow"});
  owner_->WantsFlush();
}

bool Http2Connection::can_open() const {
  return !is_server_ && !is_failed_ && !has_goaway_ && !has_sent_goaway_ && nghttp2_session_check_request_allowed(session_) &&
         open_ < nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

bool Http2Connection::wants_write() const { return nghttp2_session_want_write(session_) != 0; }

int Http2Connection::Flood(const char* why) {
  if (is_failed_) return NGHTTP2_ERR_CALLBACK_FAILURE;
  is_flood_ = true;
  Fail(NGHTTP2_ENHANCE_YOUR_CALM, std::string("too many ") + why);
  return NGHTTP2_ERR_CALLBACK_FAILURE;
}

void Http2Connection::Fail(uint32_t code, const std::string& why) {
  if (is_failed_) return;
  is_failed_ = true;
  fault_code_ = code;
  why_ = why;
  GoAway(code, why);
}

void Http2Connection::Queue(Http2Stream* stream) {
  if (stream->is_pending_) return;
  stream->is_pending_ = true;
  pending_.push_back(stream);
}

Http2Stream* Http2Connection::Find(int32_t id) const {
  return static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(session_, id));
}

void Http2Connection::GrowConnectionWindow() {
  window_used_ += consumed_;
  if (window_used_ < window_ / 2) return;
  window_used_ = 0;
  const uint64_t now = MonotonicUs();
  const uint64_t passed = now - std::exchange(window_since_us_, now);
  const uint32_t max = CurrentTunnelLimits().connection_window_bytes_max;
  if (window_ >= max || passed > 2 * owner_->RttUs()) return;
  window_ = std::min(2 * window_, max);
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, static_cast<int32_t>(window_));
}

// ---- what nghttp2 reports

int Http2Connection::OnFrameBegin(const nghttp2_frame_hd& head) {
  const uint64_t now = loop_->now_ms();
  const bool is_ack = (head.flags & NGHTTP2_FLAG_ACK) != 0;
  switch (head.type) {
    case NGHTTP2_DATA:
      if (head.length > 0)
        floods_.work++;
      else if ((head.flags & NGHTTP2_FLAG_END_STREAM) == 0 && !floods_.EmptyData(now))
        return Flood("empty DATA frames");
      return 0;
    case NGHTTP2_HEADERS:
      if (head.length > Floods::kBlockBytesMax) return Flood("bytes in a header block");
      floods_.work++;
      if (is_server_ && head.stream_id <= nghttp2_session_get_last_proc_stream_id(session_) && !Find(head.stream_id) &&
          !floods_.Useless(now))
        return Flood("frames on closed streams");
      return 0;
    case NGHTTP2_SETTINGS:
      if (is_ack) return floods_.Useless(now) ? 0 : Flood("SETTINGS acknowledgments");
      return floods_.Settings(now) ? 0 : Flood("SETTINGS frames");
    case NGHTTP2_PING:
      if (!is_ack) return floods_.Ping(now) ? 0 : Flood("PING frames");
      if (pings_out_ > 0) {
        pings_out_--;
        return 0;
      }
      return floods_.Useless(now) ? 0 : Flood("PING acknowledgments");
    case NGHTTP2_RST_STREAM:
      if (!Find(head.stream_id)) return floods_.Useless(now) ? 0 : Flood("frames on closed streams");
      // Of a server the resets are bounded by this side's requests.
      return !is_server_ || floods_.Reset(now) ? 0 : Flood("streams that were reset");
    case NGHTTP2_WINDOW_UPDATE:
      return floods_.WindowUpdate(now) ? 0 : Flood("WINDOW_UPDATE frames");
    case NGHTTP2_GOAWAY:
      if (head.length > Floods::kGoAwayBytesMax) return Flood("bytes in a GOAWAY");
      return floods_.Useless(now) ? 0 : Flood("GOAWAY frames");
    case NGHTTP2_PRIORITY:
      return floods_.Useless(now) ? 0 : Flood("PRIORITY frames");
    case NGHTTP2_PUSH_PROMISE:
    case NGHTTP2_CONTINUATION:
      return 0;
    default:
      return floods_.Useless(now) ? 0 : Flood("frames of unknown types");
  }
}

int Http2Connection::OnField(std::string_view name, std::string_view value, int32_t id) {
  list_bytes_ += name.size() + value.size() + 32;
  if (fields_.size() < CurrentTunnelLimits().header_fields_max && list_bytes_ <= ListBytesMax()) {
    fields_.emplace_back(name, value);
    return 0;
  }
  ForgetFields();
  if (!floods_.Reset(loop_->now_ms())) return Flood("streams that were reset");
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_ENHANCE_YOUR_CALM);
  return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

void Http2Connection::ForgetFields() {
  if (list_bytes_ > kListBytesKept)
    HeaderFields().swap(fields_);
  else
    fields_.clear();
}

void Http2Connection::OnHead(const nghttp2_frame& frame) {
  const int32_t id = frame.hd.stream_id;
  const bool is_end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (is_server_ && frame.headers.cat == NGHTTP2_HCAT_REQUEST) {
    auto stream = std::make_unique<Http2Stream>(this, id, CurrentTunnelLimits().stream_window_bytes_min);
    stream->has_head_ = true;
    stream->is_remote_ended_ = is_end;
    nghttp2_session_set_stream_user_data(session_, id, stream.get());
    owner_->OnRequest(std::move(stream), fields_, list_bytes_);
    return;
  }
  Http2Stream* const stream = Find(id);
  if (!stream) return;
  if (is_end) {
    stream->is_remote_ended_ = true;
    Queue(stream);
  }
  if (is_server_ || stream->has_head_) return;
  uint32_t status = 0;
  for (const auto& [name, value] : fields_)
    if (name == ":status") std::from_chars(value.data(), value.data() + value.size(), status);
  // 1xx: the response follows.
  if (status < 200) return;
  stream->has_head_ = true;
  if (stream->listener_) stream->listener_->OnResponse(status);
}

int Http2Connection::OnFrame(const nghttp2_frame& frame) {
  const bool is_ack = (frame.hd.flags & NGHTTP2_FLAG_ACK) != 0;
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
      OnHead(frame);
      ForgetFields();
      break;
    case NGHTTP2_DATA:
      if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) break;
      if (Http2Stream* const stream = Find(frame.hd.stream_id)) {
        stream->is_remote_ended_ = true;
        Queue(stream);
      }
      break;
    case NGHTTP2_RST_STREAM:
      if (Http2Stream* const stream = Find(frame.hd.stream_id)) stream->was_reset_by_peer_ = true;
      break;
    case NGHTTP2_SETTINGS:
      if (!is_ack) owner_->OnSettings();
      break;
    case NGHTTP2_PING:
      if (is_ack) owner_->OnPingAck();
      break;
    case NGHTTP2_GOAWAY:
      has_goaway_ = true;
      goaway_code_ = frame.goaway.error_code;
      goaway_last_ = frame.goaway.last_stream_id;
      goaway_text_ = frame.goaway.opaque_data_len == 0
                         ? ""
                         : ": " + Printable(frame.goaway.opaque_data, frame.goaway.opaque_data_len);
      owner_->OnGoAway();
      break;
    default:
      break;
  }
  return is_failed_ ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

int Http2Connection::OnInvalid() {
  return floods_.Reset(loop_->now_ms()) ? 0 : Flood("streams that were reset");
}

void Http2Connection::OnSent(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_DATA:
      floods_.data_frames++;
      floods_.data_bytes += frame.hd.length;
      if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return;
      if (Http2Stream* const stream = Find(frame.hd.stream_id)) stream->is_local_ended_ = true;
      return;
    case NGHTTP2_HEADERS:
      if (Http2Stream* const stream = Find(frame.hd.stream_id)) stream->has_sent_head_ = true;
      return;
    case NGHTTP2_GOAWAY:
      // nghttp2 found a violation of the protocol.
      if (frame.goaway.error_code == NGHTTP2_NO_ERROR || is_failed_) return;
      is_failed_ = true;
      has_sent_goaway_ = true;
      fault_code_ = frame.goaway.error_code;
      why_ = frame.goaway.opaque_data_len > 0 ? Printable(frame.goaway.opaque_data, frame.goaway.opaque_data_len)
                                              : nghttp2_http2_strerror(fault_code_);
      return;
    default:
      return;
  }
}

// A request that could not be sent was never a stream of nghttp2, so nothing else reports its end.
void Http2Connection::OnNotSent(const nghttp2_frame& frame) {
  if (is_server_ || frame.hd.type != NGHTTP2_HEADERS || frame.headers.cat != NGHTTP2_HCAT_REQUEST) return;
  if (nghttp2_session_get_stream_local_close(session_, frame.hd.stream_id) >= 0) return;
  open_--;
  const auto found = std::find_if(streams_.begin(), streams_.end(), [&](const Http2Stream* stream) {
    return stream->id_ == frame.hd.stream_id && !stream->is_closed_;
  });
  if (found != streams_.end())
    (*found)->Close({NGHTTP2_REFUSED_STREAM, StreamReset::By::kConnection, true, "the connection accepts no more streams"});
  owner_->OnStreamClosed();
}

void Http2Connection::OnClosed(int32_t id, uint32_t code) {
  open_--;
  if (Http2Stream* const stream = Find(id)) {
    if (code == NGHTTP2_NO_ERROR && stream->is_remote_ended_ && stream->is_local_ended_) {
      stream->is_finished_ = true;
      stream->Close({});
    } else if (stream->was_reset_by_peer_) {
      stream->Close({code, StreamReset::By::kPeer, code == NGHTTP2_REFUSED_STREAM && !stream->has_head_,
                     "the peer reset the stream (code " + std::to_string(code) + ")"});
    } else if (!is_server_ && has_goaway_ && id > goaway_last_) {
      stream->Close({NGHTTP2_REFUSED_STREAM, StreamReset::By::kConnection, true,
                     "the peer's GOAWAY excludes the stream (code " + std::to_string(goaway_code_) + goaway_text_ + ")"});
    } else {
      stream->Close({code == 0 ? static_cast<uint32_t>(NGHTTP2_CANCEL) : code, StreamReset::By::kProtocol, false,
                     std::string("the stream is invalid: ") + nghttp2_http2_strerror(code)});
    }
  }
  owner_->OnStreamClosed();
}

}  // namespace weft
