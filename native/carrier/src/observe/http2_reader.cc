// SPDX-License-Identifier: Apache-2.0
#include "observe/http2_reader.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"

namespace weft {

namespace {
constexpr uint32_t kStreamMask = 0x7fffffff;
constexpr uint8_t kPriorityBytes = 5;
constexpr uint32_t kResetBytes = 4;
}  // namespace

Http2Reader::Http2Reader(Kind kind, WatchMemory* memory)
    : state_(kind == Kind::kRequests ? State::kPreface : State::kFirstHeader), head_(memory) {}

Http2Reader::Event Http2Reader::Read(std::string_view* bytes) {
  for (;;) {
    switch (state_) {
      case State::kPreface:
        if (bytes->empty()) return Event::kMore;
        ReadPreface(bytes);
        continue;
      case State::kFirstHeader:
      case State::kHeader:
        if (!Gather(bytes, kHeaderBytes)) return Event::kMore;
        BeginFrame();
        continue;
      case State::kPrefix:
        if (!Gather(bytes, prefix_bytes_)) return Event::kMore;
        ReadPrefix();
        continue;
      case State::kFields:
        if (bytes->empty() && fields_ > 0) return Event::kMore;
        ReadFields(bytes);
        continue;
      case State::kRest: {
        const uint32_t count = static_cast<uint32_t>(std::min<size_t>(rest_, bytes->size()));
        bytes->remove_prefix(count);
        rest_ -= count;
        if (rest_ > 0) return Event::kMore;
        state_ = State::kHeader;
        if (event_ != Event::kMore) return event_;
        continue;
      }
      case State::kStopped:
        return Event::kStopped;
    }
  }
}

bool Http2Reader::Gather(std::string_view* bytes, size_t count) {
  if (bytes->empty()) return false;
  if (part_bytes_ == 0 && bytes->size() < count && state_ == State::kHeader) header_us_ = MonotonicUs();
  const size_t more = std::min(count - part_bytes_, bytes->size());
  std::copy_n(bytes->begin(), more, part_.begin() + part_bytes_);
  bytes->remove_prefix(more);
  part_bytes_ += static_cast<uint8_t>(more);
  return part_bytes_ == count;
}

void Http2Reader::ReadPreface(std::string_view* bytes) {
  const std::string_view expected = kPreface.substr(part_bytes_, bytes->size());
  if (!bytes->starts_with(expected)) return Stop();
  bytes->remove_prefix(expected.size());
  part_bytes_ += static_cast<uint8_t>(expected.size());
  if (part_bytes_ < kPreface.size()) return;
  part_bytes_ = 0;
  state_ = State::kFirstHeader;
}

void Http2Reader::BeginFrame() {
  part_bytes_ = 0;
  const uint32_t length = static_cast<uint32_t>(part_[0]) << 16 | static_cast<uint32_t>(part_[1]) << 8 | part_[2];
  const uint8_t type = part_[3], flags = part_[4];
  const uint32_t stream =
      (static_cast<uint32_t>(part_[5]) << 24 | static_cast<uint32_t>(part_[6]) << 16 | static_cast<uint32_t>(part_[7]) << 8 | part_[8]) &
      kStreamMask;
  const bool is_first = state_ == State::kFirstHeader;
  if (is_first && (type != NGHTTP2_SETTINGS || flags != 0 || stream != 0)) return Stop();
  if (continues_ != (type == NGHTTP2_CONTINUATION) || (continues_ && stream != stream_)) return Stop();
  head_.Arrived(kHeaderBytes + length);
  const uint64_t header_us = std::exchange(header_us_, 0);
  event_ = Event::kMore;
  fields_ = 0;
  rest_ = length;
  state_ = State::kRest;
  switch (type) {
    case NGHTTP2_HEADERS:
      if (stream == 0) return Stop();
      stream_ = stream;
      is_end_ = (flags & NGHTTP2_FLAG_END_STREAM) != 0;
      head_bytes_ = 0;
      head_.Clear();
      began_us_ = header_us != 0 ? header_us : MonotonicUs();
      return BeginFields(flags);
    case NGHTTP2_CONTINUATION:
      return BeginFields(flags & NGHTTP2_FLAG_END_HEADERS);
    case NGHTTP2_DATA:
      if (stream == 0) return Stop();
      if ((flags & NGHTTP2_FLAG_END_STREAM) == 0) return;
      stream_ = stream;
      event_ = Event::kEnd;
      return;
    case NGHTTP2_RST_STREAM:
      if (stream == 0 || length != kResetBytes) return Stop();
      stream_ = stream;
      event_ = Event::kReset;
      return;
    case NGHTTP2_PUSH_PROMISE:
      // No client asks for it any more, and its head would have to be followed.
      return Stop();
    default:
      return;
  }
}

void Http2Reader::BeginFields(uint8_t flags) {
  // Before the fields: the length of the padding that follows them, and the stream's priority.
  is_padded_ = (flags & NGHTTP2_FLAG_PADDED) != 0;
  prefix_bytes_ = static_cast<uint8_t>((is_padded_ ? 1 : 0) + ((flags & NGHTTP2_FLAG_PRIORITY) != 0 ? kPriorityBytes : 0));
  is_last_ = (flags & NGHTTP2_FLAG_END_HEADERS) != 0;
  continues_ = !is_last_;
  head_bytes_ += static_cast<uint32_t>(std::min<size_t>(rest_, kHeadBytesMax)) + 1;
  if (head_bytes_ > kHeadBytesMax) {
    is_too_large_ = true;
    return Stop();
  }
  if (prefix_bytes_ > rest_) return Stop();
  fields_ = std::exchange(rest_, 0) - prefix_bytes_;
  state_ = prefix_bytes_ > 0 ? State::kPrefix : State::kFields;
}

void Http2Reader::ReadPrefix() {
  part_bytes_ = 0;
  rest_ = is_padded_ ? part_[0] : 0;
  if (rest_ > fields_) return Stop();
  fields_ -= rest_;
  state_ = State::kFields;
}

void Http2Reader::ReadFields(std::string_view* bytes) {
  const std::string_view part = bytes->substr(0, fields_);
  bytes->remove_prefix(part.size());
  fields_ -= static_cast<uint32_t>(part.size());
  if (!head_.Read(part, is_last_ && fields_ == 0)) return Stop();
  if (fields_ > 0) return;
  if (is_last_) event_ = Event::kHead;
  state_ = State::kRest;
}

}  // namespace weft
