// SPDX-License-Identifier: Apache-2.0
// Follows the framing of the HTTP/1.1 messages in one direction of a connection (RFC 9112), so that a body is never taken for a message.
// Strict: what two readers of HTTP could understand differently ends it. Bytes of bodies are skipped by count. Nothing is kept of a
// head but the method, what the path's template depends on, and the status.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "observe/path_template.h"

namespace weft {

class Http1Reader {
 public:
  enum class Kind : uint8_t { kRequests, kResponses };
  enum class Event : uint8_t {
    kMore,     // every byte was read
    kBegin,    // the next byte is the first one of a message
    kHead,     // a head is complete: BeginBody follows
    kStopped,  // what follows cannot be understood
  };
  // Of one head, or of the trailers of one body. Extensions of a chunk have the same limit.
  static constexpr size_t kHeadBytesMax = 64 << 10;

  explicit Http1Reader(Kind kind) : kind_(kind) {}

  // Reads until the next event, and removes what it has read.
  Event Read(std::string_view* bytes);
  // After kHead. `may_have_body` false: the message has none, whatever its head says.
  void BeginBody(bool may_have_body);

  std::string_view method() const { return {method_.data(), method_bytes_}; }
  const TemplatePath& path() const { return path_; }
  uint32_t status() const { return status_; }
  // It has stopped because of kHeadBytesMax.
  bool is_too_large() const { return is_too_large_; }

 private:
  enum class State : uint8_t {
    kStart,
    kStartLf,
    kMethod,
    kTarget,
    kVersion,
    kReason,
    kLineLf,
    kFieldStart,
    kFieldName,
    kFieldValue,
    kHeadLf,
    kHeadRead,
    kBody,
    kUntilEnd,
    kChunkSize,
    kChunkSpace,
    kChunkExtension,
    kChunkLf,
    kChunkData,
    kChunkDataCr,
    kChunkDataLf,
    kTrailerStart,
    kTrailer,
    kTrailerLf,
    kTrailersLf,
    kStopped,
  };
  enum class Field : uint8_t { kOther, kContentLength, kTransferEncoding };

  void BeginMessage();
  // Up to the end of its line, or the limit of the head.
  void SkipValue(std::string_view* bytes);
  // One byte of a head, of a chunk's head or of trailers.
  void ReadByte(char c);
  void ReadVersion(char c);
  void ReadChunkSize(char c);
  void EndName();
  void EndValue();
  void Stop() { state_ = State::kStopped; }
  void Expect(char c, char expected, State next) { state_ = c == expected ? next : State::kStopped; }

  const Kind kind_;
  State state_ = State::kStart;
  bool is_too_large_ = false;
  bool is_version_1_0_ = false;
  bool has_length_ = false;
  bool has_encoding_ = false;
  bool is_chunked_ = false;
  Field field_ = Field::kOther;
  // In the part that the state names.
  uint8_t at_ = 0;
  uint8_t method_bytes_ = 0;
  uint8_t value_bytes_ = 0;
  uint32_t status_ = 0;
  uint32_t head_bytes_ = 0;
  // Of a body or a chunk.
  uint64_t left_ = 0;
  uint64_t length_ = 0;
  std::array<char, 20> method_{};
  // The name of a field, then its value.
  std::array<char, 32> text_{};
  TemplatePath path_;
};

}  // namespace weft
