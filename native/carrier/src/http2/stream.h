// SPDX-License-Identifier: Apache-2.0
// One stream of an Http2Connection, of either side. Whoever holds it owns it: its destruction resets the stream if it is open.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <string>

#include "base/loop.h"
#include "http2/tunnel_stream.h"
#include "rules/rule.h"

namespace weft {

class Http2Connection;

struct StreamReset {
  enum class By : uint8_t { kPeer, kConnection, kProtocol };
  uint32_t code = 0;
  By by = By::kConnection;
  // The peer did not process the request.
  bool is_unprocessed = false;
  std::string why;
};

// Events before a TunnelStreamUser takes over.
class StreamListener {
 public:
  virtual ~StreamListener() = default;
  // Client: the response's head.
  virtual void OnResponse(uint32_t status) = 0;
  virtual void OnStreamReset(const StreamReset& reset) = 0;
};

class Http2Stream final : public TunnelStream {
 public:
  Http2Stream(Http2Connection* connection, int32_t id, uint32_t window);
  ~Http2Stream() override;

  void Start(TunnelStreamUser* user) override;
  void Wake() override;
  void Consume(size_t bytes) override;
  void Reset(uint32_t code) override;
  bool is_finished() const override { return is_finished_; }
  bool may_linger() const override { return may_linger_; }

  // Server: a response without a body, or the head of a tunnel.
  void Respond(uint32_t status, bool is_end);
  void Listen(StreamListener* listener) { listener_ = listener; }
  int32_t id() const { return id_; }
  bool is_closed() const { return is_closed_; }

 private:
  friend class Http2Connection;
  friend struct Http2Callbacks;
  ssize_t Pull(uint8_t* to, size_t bytes_max);
  void OnChunk(const uint8_t* bytes, size_t count);
  // Delivers what has happened. The stream may be deleted in this call.
  void Deliver();
  void GrowWindow();
  void Release(size_t bytes);
  void Close(const StreamReset& reset);
  // The bytes that were not consumed count no longer as those of an open stream.
  void Uncount();
  bool Linger();

  // Null: it is gone.
  Http2Connection* connection_;
  TunnelStreamUser* user_ = nullptr;
  StreamListener* listener_ = nullptr;
  int32_t id_;
  uint32_t window_;
  PodKey pod_;
  uint64_t window_taken_ = 0;  // of StreamMemory
  uint64_t updated_us_ = 0;
  size_t unconsumed_ = 0;
  // Where these bytes count. Those of a stream that has closed in this turn, and of one that was reset here, count nowhere.
  enum class Counted : uint8_t { kBuffered, kLingering, kNowhere } counted_ = Counted::kBuffered;
  size_t credit_ = 0;  // consumed, and not yet stated to the peer
  std::string early_;  // received before Start
  StreamReset reset_;
  bool has_data_ = false;
  bool is_pending_ = false;  // in Http2Connection::pending_
  bool is_deferred_ = false;
  bool is_closed_ = false;
  bool was_reset_by_peer_ = false;
  bool is_shed_ = false;
  bool has_sent_head_ = false;
  bool has_head_ = false;
  bool is_remote_ended_ = false;
  bool is_end_delivered_ = false;
  bool is_local_ended_ = false;
  bool is_finished_ = false;
  bool is_over_delivered_ = false;
  bool may_linger_ = true;
};

}  // namespace weft
