// SPDX-License-Identifier: Apache-2.0
// HTTP/2 of one connection, of either side, without its transport: frames go in by Receive and come out by Produce. nghttp2 does the
// protocol; limits of what peers may do are here and in floods.h.
#pragma once

#include <nghttp2/nghttp2.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/loop.h"
#include "http2/floods.h"
#include "http2/limits.h"
#include "http2/stream.h"

namespace weft {

using HeaderFields = std::vector<std::pair<std::string, std::string>>;

class Http2Owner {
 public:
  virtual ~Http2Owner() = default;
  // Server: a request. `fields` is valid within the call. The callee owns the stream.
  virtual void OnRequest(std::unique_ptr<Http2Stream> stream, const HeaderFields& fields, size_t list_bytes) = 0;
  virtual void OnSettings() = 0;
  virtual void OnPingAck() = 0;
  virtual void OnGoAway() = 0;
  virtual void OnStreamClosed() = 0;
  // Frames are to be sent: call Produce at the end of the turn.
  virtual void WantsFlush() = 0;
  // Round trip time of the path.
  virtual uint64_t RttUs() = 0;
};

class Http2Connection {
 public:
  // Of the header of every frame (RFC 9113, section 4.1).
  static constexpr size_t kFrameHeadBytes = 9;

  Http2Connection(Loop* loop, Http2Owner* owner, PodKey pod, bool is_server);
  ~Http2Connection();

  // Processes what was received. False: the connection has failed (`fault_code`, `why`); Produce has the GOAWAY.
  bool Receive(const uint8_t* bytes, size_t count);
  // Puts frames, which pull what streams have to send. 0: nothing to send now, or no room.
  size_t Produce(uint8_t* to, size_t bytes_max);
  // Delivers events of streams that came up outside of Receive. Call after Produce.
  void DeliverPending();

  // Client: null if no stream can be opened.
  std::unique_ptr<Http2Stream> Request(const HeaderFields& fields);
  // Server: a response without a body, or the head of a tunnel.
  void Respond(Http2Stream* stream, uint32_t status, bool is_end);
  void Ping();
  void SubmitShutdownNotice();
  void GoAway(uint32_t code, std::string_view why);
  // The connection has ended: all streams are reset.
  void CloseStreams(const StreamReset& reset);
  // Resets the stream that buffers most.
  void Shed();

  bool can_open() const;
  bool has_sent_goaway() const { return has_sent_goaway_; }
  bool has_goaway() const { return has_goaway_; }
  uint32_t goaway_code() const { return goaway_code_; }
  size_t open_streams() const { return open_; }
  bool wants_write() const;
  size_t queued_frames() const { return nghttp2_session_get_outbound_queue_size(session_); }
  // Bytes of open streams that were not consumed.
  uint64_t buffered() const { return buffered_; }
  PodKey pod() const { return pod_; }
  uint32_t fault_code() const { return fault_code_; }
  bool is_flood() const { return is_flood_; }
  const std::string& why() const { return why_; }
  Loop* loop() const { return loop_; }

 private:
  friend class Http2Stream;
  friend struct Http2Callbacks;

  int Flood(const char* why);
  void Fail(uint32_t code, const std::string& why);
  void Queue(Http2Stream* stream);
  void OnClosed(int32_t id, uint32_t code);
  int OnFrameBegin(const nghttp2_frame_hd& head);
  int OnFrame(const nghttp2_frame& frame);
  void OnHead(const nghttp2_frame& frame);
  void ForgetFields();
  int OnField(std::string_view name, std::string_view value, int32_t id);
  void OnSent(const nghttp2_frame& frame);
  void OnNotSent(const nghttp2_frame& frame);
  int OnInvalid();
  ssize_t FrameBytesMax(uint32_t peer_max) const;
  uint32_t ListBytesMax() const;
  bool is_batch_full() const;
  Http2Stream* Find(int32_t id) const;
  void GrowConnectionWindow();

  Loop* loop_;
  Http2Owner* owner_;
  PodKey pod_;
  bool is_server_;
  nghttp2_session* session_ = nullptr;
  Floods floods_;
  std::vector<Http2Stream*> streams_;  // those that somebody holds, closed ones as well
  size_t open_ = 0;
  std::vector<Http2Stream*> pending_;
  HeaderFields fields_;
  size_t list_bytes_ = 0;
  size_t consumed_ = 0;
  uint32_t window_;
  uint64_t window_used_ = 0;
  uint64_t window_since_us_ = 0;
  uint64_t buffered_ = 0;
  uint64_t unread_ = 0;  // of streams that were reset: TunnelLimits::unread_bytes_max
  uint8_t* produce_from_ = nullptr;
  uint8_t* produce_at_ = nullptr;
  uint8_t* produce_end_ = nullptr;
  bool has_sent_goaway_ = false;
  bool has_goaway_ = false;
  uint32_t goaway_code_ = 0;
  int32_t goaway_last_ = 0;
  std::string goaway_text_;
  uint32_t pings_out_ = 0;
  uint32_t fault_code_ = 0;
  bool is_failed_ = false;
  bool is_flood_ = false;
  std::string why_;
};

}  // namespace weft
