// SPDX-License-Identifier: Apache-2.0
// Follows the frames in one direction of an HTTP/2 connection from its first byte (RFC 9113). Strict: what it does not expect ends it. The
// bytes of bodies are skipped by count.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "observe/hpack.h"

namespace weft {

class Http2Reader {
 public:
  enum class Kind : uint8_t { kRequests, kResponses };
  enum class Event : uint8_t {
    kMore,     // every byte was read
    kHead,     // a head or trailers are complete, those of stream()
    kEnd,      // the body of stream() has ended, without trailers
    kReset,    // stream() was reset
    kStopped,  // what follows cannot be understood
  };
  // What a client that knows that its server speaks HTTP/2 sends first.
  static constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  // Of one head or trailers, with all that carries it.
  static constexpr size_t kHeadBytesMax = 64 << 10;

  Http2Reader(Kind kind, WatchMemory* memory);

  // Reads until the next event, and removes what it has read.
  Event Read(std::string_view* bytes);

  uint32_t stream() const { return stream_; }
  // At kHead: nothing of the stream follows.
  bool is_end() const { return is_end_; }
  // Of the head.
  const HpackReader& head() const { return head_; }
  // When the first byte of the head arrived.
  uint64_t began_us() const { return began_us_; }
  // It has stopped because of kHeadBytesMax.
  bool is_too_large() const { return is_too_large_; }

 private:
  enum class State : uint8_t { kPreface, kFirstHeader, kHeader, kPrefix, kFields, kRest, kStopped };
  static constexpr size_t kHeaderBytes = 9;

  // True once `count` bytes are in part_.
  bool Gather(std::string_view* bytes, size_t count);
  void ReadPreface(std::string_view* bytes);
  void BeginFrame();
  void BeginFields(uint8_t flags);
  void ReadPrefix();
  void ReadFields(std::string_view* bytes);
  void Stop() { state_ = State::kStopped; }

  State state_;
  bool is_too_large_ = false;
  // A head goes on in the next frame.
  bool continues_ = false;
  bool is_end_ = false;
  // The frame's block of fields is the last one of its head.
  bool is_last_ = false;
  uint8_t prefix_bytes_ = 0;
  bool is_padded_ = false;
  // What the frame is, once all of it was read.
  Event event_ = Event::kMore;
  uint8_t part_bytes_ = 0;
  std::array<uint8_t, kHeaderBytes> part_{};
  uint32_t stream_ = 0;
  uint32_t head_bytes_ = 0;
  // Of the frame: fields, and what is skipped then.
  uint32_t fields_ = 0, rest_ = 0;
  // Of a frame's header that comes in parts.
  uint64_t header_us_ = 0;
  uint64_t began_us_ = 0;
  HpackReader head_;
};

}  // namespace weft
