// SPDX-License-Identifier: Apache-2.0
// One stream of a tunnel connection, of either side, after the response 200. Bytes to send are pulled when the connection can take them,
// so nothing is buffered between the application's socket and the TLS record.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace weft {

class TunnelStreamUser {
 public:
  static constexpr ssize_t kLater = -1;
  static constexpr ssize_t kFailed = -2;  // the stream is reset
  virtual ~TunnelStreamUser() = default;
  // Bytes to send: how many were put, 0 at the end (END_STREAM), kLater (call Wake when there are some), kFailed.
  virtual ssize_t OnPull(uint8_t* to, size_t bytes_max) = 0;
  // Bytes of the peer, valid until OnBatchEnd. Call Consume once they are delivered: the window opens.
  virtual void OnData(const uint8_t* bytes, size_t count) = 0;
  // All frames of one read of the connection are processed.
  virtual void OnBatchEnd() = 0;
  // END_STREAM.
  virtual void OnEnd() = 0;
  // RST_STREAM, or the connection ended. No call follows.
  virtual void OnReset(uint32_t code) = 0;
  // Both directions have ended in order, and everything was handed to the connection's socket. No call follows.
  virtual void OnFinished() {}
};

class TunnelStream {
 public:
  // Resets the stream if it is open.
  virtual ~TunnelStream() = default;
  // Events begin, none of them within this call.
  virtual void Start(TunnelStreamUser* user) = 0;
  // There is something to pull.
  virtual void Wake() = 0;
  virtual void Consume(size_t bytes) = 0;
  // RST_STREAM (NGHTTP2_CANCEL, NGHTTP2_CONNECT_ERROR, ...). No call of the user follows.
  virtual void Reset(uint32_t code) = 0;
  // Whether both directions have ended in order and everything was sent.
  virtual bool is_finished() const = 0;
  // Within OnReset and OnFinished, and after them: whether bytes that were not consumed yet may wait for a slow reader. False: the share of
  // the connection or of the pod is used up.
  virtual bool may_linger() const { return true; }
};

}  // namespace weft
