// SPDX-License-Identifier: Apache-2.0
#include "observe/http1_reader.h"

#include <algorithm>

namespace weft {

namespace {
constexpr std::string_view kVersionBegin = "HTTP/1.";
constexpr std::string_view kContentLength = "content-length";
constexpr std::string_view kTransferEncoding = "transfer-encoding";
constexpr std::string_view kChunked = "chunked";
// Digits of a length: below 2^60, so that no sum overflows.
constexpr size_t kLengthDigitsMax = 15;
constexpr uint8_t kChunkDigitsMax = 12;

constexpr std::array<bool, 256> MakeTokenChars() {
  std::array<bool, 256> is{};
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) is[static_cast<uint8_t>(c)] = true;
  for (char c = '0'; c <= '9'; c++) is[static_cast<uint8_t>(c)] = true;
  for (char c = 'a'; c <= 'z'; c++) is[static_cast<uint8_t>(c)] = true;
  for (char c = 'A'; c <= 'Z'; c++) is[static_cast<uint8_t>(c)] = true;
  return is;
}
constexpr std::array<bool, 256> kTokenChars = MakeTokenChars();

bool IsToken(char c) { return kTokenChars[static_cast<uint8_t>(c)]; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsSpace(char c) { return c == ' ' || c == '\t'; }
// Ends of lines that some readers see and others do not.
bool IsUnsound(char c) { return c == '\n' || c == '\0'; }
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }
}  // namespace

Http1Reader::Event Http1Reader::Read(std::string_view* bytes) {
  while (!bytes->empty()) {
    switch (state_) {
      case State::kStart:
        // A server ignores empty lines before a request.
        if (kind_ == Kind::kRequests && bytes->front() == '\r') {
          state_ = State::kStartLf;
          bytes->remove_prefix(1);
          continue;
        }
        BeginMessage();
        return Event::kBegin;
      case State::kHeadRead:
      case State::kStopped:
        return Event::kStopped;
      case State::kUntilEnd:
        *bytes = {};
        return Event::kMore;
      case State::kBody:
      case State::kChunkData: {
        const uint64_t count = std::min<uint64_t>(left_, bytes->size());
        bytes->remove_prefix(count);
        left_ -= count;
        if (left_ == 0) state_ = state_ == State::kBody ? State::kStart : State::kChunkDataCr;
        continue;
      }
      case State::kFieldValue:
        // Most bytes of heads are in values that nobody reads.
        if (field_ == Field::kOther) SkipValue(bytes);
        if (bytes->empty()) return Event::kMore;
        break;
      default:
        break;
    }
    const char c = bytes->front();
    bytes->remove_prefix(1);
    if (++head_bytes_ > kHeadBytesMax) {
      is_too_large_ = true;
      Stop();
    } else {
      ReadByte(c);
    }
    if (state_ == State::kHeadRead) return Event::kHead;
    if (state_ == State::kStopped) return Event::kStopped;
  }
  return state_ == State::kStopped ? Event::kStopped : Event::kMore;
}

void Http1Reader::SkipValue(std::string_view* bytes) {
  std::string_view value = bytes->substr(0, kHeadBytesMax - head_bytes_);
  for (const char end : {'\r', '\n', '\0'}) value = value.substr(0, value.find(end));
  bytes->remove_prefix(value.size());
  head_bytes_ += static_cast<uint32_t>(value.size());
}

void Http1Reader::BeginMessage() {
  state_ = kind_ == Kind::kRequests ? State::kMethod : State::kVersion;
  is_version_1_0_ = has_length_ = has_encoding_ = is_chunked_ = false;
  at_ = method_bytes_ = 0;
  status_ = head_bytes_ = 0;
  length_ = 0;
  path_.Clear();
}

void Http1Reader::ReadByte(char c) {
  switch (state_) {
    case State::kStartLf:
      return Expect(c, '\n', State::kStart);
    case State::kMethod:
      if (c == ' ' && method_bytes_ > 0) {
        state_ = State::kTarget;
      } else if (IsToken(c) && method_bytes_ < method_.size()) {
        method_[method_bytes_++] = c;
      } else {
        Stop();
      }
      return;
    case State::kTarget:
      if (c == ' ' && !path_.text().empty()) {
        state_ = State::kVersion;
      } else if (static_cast<uint8_t>(c) > ' ' && c != 0x7f) {
        path_.Add(c);
      } else {
        Stop();
      }
      return;
    case State::kVersion:
      return ReadVersion(c);
    case State::kReason:
      if (c == '\r') state_ = State::kLineLf;
      if (IsUnsound(c)) Stop();
      return;
    case State::kLineLf:
      return Expect(c, '\n', State::kFieldStart);
    case State::kFieldStart:
      if (c == '\r') {
        state_ = State::kHeadLf;
        return;
      }
      at_ = 0;
      state_ = State::kFieldName;
      [[fallthrough]];
    case State::kFieldName:
      if (c == ':' && at_ > 0) return EndName();
      if (!IsToken(c)) return Stop();
      if (at_ < text_.size()) text_[at_++] = Lower(c);
      return;
    case State::kFieldValue:
      if (c == '\r') return EndValue();
      if (IsUnsound(c)) return Stop();
      if (field_ == Field::kOther || (value_bytes_ == 0 && IsSpace(c))) return;
      if (value_bytes_ == text_.size()) return Stop();
      text_[value_bytes_++] = Lower(c);
      return;
    case State::kHeadLf:
      return Expect(c, '\n', State::kHeadRead);
    case State::kChunkSize:
      return ReadChunkSize(c);
    case State::kChunkSpace:
      if (c == ';') state_ = State::kChunkExtension;
      else if (c == '\r') state_ = State::kChunkLf;
      else if (!IsSpace(c)) Stop();
      return;
    case State::kChunkExtension:
      if (c == '\r') state_ = State::kChunkLf;
      if (IsUnsound(c)) Stop();
      return;
    case State::kChunkLf:
      return Expect(c, '\n', left_ > 0 ? State::kChunkData : State::kTrailerStart);
    case State::kChunkDataCr:
      return Expect(c, '\r', State::kChunkDataLf);
    case State::kChunkDataLf:
      at_ = 0;
      head_bytes_ = 0;
      return Expect(c, '\n', State::kChunkSize);
    case State::kTrailerStart:
      if (c == '\r') state_ = State::kTrailersLf;
      else if (IsToken(c)) state_ = State::kTrailer;
      else Stop();
      return;
    case State::kTrailer:
      if (c == '\r') state_ = State::kTrailerLf;
      if (IsUnsound(c)) Stop();
      return;
    case State::kTrailerLf:
      return Expect(c, '\n', State::kTrailerStart);
    case State::kTrailersLf:
      return Expect(c, '\n', State::kStart);
    default:
      return Stop();
  }
}

// Of a request `HTTP/1.1` and the end of the line. Of a response `HTTP/1.1 200`, and a space or the end of the line.
void Http1Reader::ReadVersion(char c) {
  constexpr uint8_t kMinor = kVersionBegin.size(), kStatus = kMinor + 2, kStatusEnd = kStatus + 3;
  const uint8_t at = at_++;
  if (at < kMinor) {
    if (c != kVersionBegin[at]) Stop();
  } else if (at == kMinor) {
    is_version_1_0_ = c == '0';
    if (c != '0' && c != '1') Stop();
  } else if (kind_ == Kind::kRequests) {
    Expect(c, '\r', State::kLineLf);
  } else if (at < kStatus) {
    if (c != ' ') Stop();
  } else if (at < kStatusEnd) {
    if (!IsDigit(c) || (at == kStatus && c == '0')) return Stop();
    status_ = status_ * 10 + static_cast<uint32_t>(c - '0');
  } else if (c == '\r') {
    state_ = State::kLineLf;
  } else {
    Expect(c, ' ', State::kReason);
  }
}

void Http1Reader::EndName() {
  const std::string_view name(text_.data(), at_);
  field_ = name == kContentLength      ? Field::kContentLength
           : name == kTransferEncoding ? Field::kTransferEncoding
                                       : Field::kOther;
  value_bytes_ = 0;
  state_ = State::kFieldValue;
}

void Http1Reader::EndValue() {
  state_ = State::kLineLf;
  if (field_ == Field::kOther) return;
  std::string_view value(text_.data(), value_bytes_);
  while (!value.empty() && IsSpace(value.back())) value.remove_suffix(1);
  if (field_ == Field::kTransferEncoding) {
    if (has_encoding_) return Stop();
    has_encoding_ = true;
    is_chunked_ = value == kChunked;
    return;
  }
  if (value.empty() || value.size() > kLengthDigitsMax || !std::all_of(value.begin(), value.end(), IsDigit)) return Stop();
  uint64_t length = 0;
  for (const char c : value) length = length * 10 + static_cast<uint64_t>(c - '0');
  if (has_length_ && length != length_) return Stop();
  has_length_ = true;
  length_ = length;
}

void Http1Reader::BeginBody(bool may_have_body) {
  if (!may_have_body) {
    state_ = State::kStart;
  } else if (has_encoding_) {
    // Two lengths, or one that HTTP/1.0 does not have, are how requests are smuggled past a reader.
    if (has_length_ || is_version_1_0_ || (!is_chunked_ && kind_ == Kind::kRequests)) return Stop();
    at_ = 0;
    head_bytes_ = 0;
    state_ = is_chunked_ ? State::kChunkSize : State::kUntilEnd;
  } else if (has_length_) {
    left_ = length_;
    state_ = left_ > 0 ? State::kBody : State::kStart;
  } else {
    state_ = kind_ == Kind::kRequests ? State::kStart : State::kUntilEnd;
  }
}

void Http1Reader::ReadChunkSize(char c) {
  if (at_ == 0) left_ = 0;
  const char lower = Lower(c);
  const bool is_letter = lower >= 'a' && lower <= 'f';
  if (IsDigit(c) || is_letter) {
    if (at_++ == kChunkDigitsMax) return Stop();
    left_ = left_ * 16 + static_cast<uint64_t>(is_letter ? lower - 'a' + 10 : c - '0');
    return;
  }
  if (at_ == 0) return Stop();
  state_ = c == ';' ? State::kChunkExtension : c == '\r' ? State::kChunkLf : IsSpace(c) ? State::kChunkSpace : State::kStopped;
}

}  // namespace weft
