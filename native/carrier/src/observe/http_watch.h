// SPDX-License-Identifier: Apache-2.0
// The requests of one connection, as the relay sees them pass: method, path template, status, and the time from the request's first byte to
// the response's. It looks at the bytes and changes nothing. The first ones tell HTTP/1.1 from HTTP/2. What it cannot follow ends it for that
// connection: CONNECT, an upgrade, messages without sound framing, bytes of another protocol.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "net/pod_shares.h"
#include "observe/http1_reader.h"
#include "observe/http2_watch.h"
#include "observe/http_seen.h"
#include "observe/kept_template.h"

namespace weft {

class HttpWatch {
 public:
  // Requests of one connection that wait for their responses.
  static constexpr size_t kWaitingMax = 32;

  enum class Client : uint8_t {
    kPod,   // the pod's side sends the requests
    kPeer,  // the pod's side sends the responses
  };

  HttpWatch(HttpWatchUser* user, PodKey pod, Client client);
  ~HttpWatch();

  // Bytes that the pod's side sent, in order.
  void Sent(const uint8_t* bytes, size_t count) {
    if (!is_over_) Read(client_ == Client::kPod, {reinterpret_cast<const char*>(bytes), count});
  }
  void Received(const uint8_t* bytes, size_t count) {
    if (!is_over_) Read(client_ == Client::kPeer, {reinterpret_cast<const char*>(bytes), count});
  }
  // The connection has ended: requests without a response count with status 0.
  void End();
  // Nothing is looked at any more.
  bool is_over() const { return is_over_; }

 private:
  struct Readers {
    Http1Reader requests{Http1Reader::Kind::kRequests};
    Http1Reader responses{Http1Reader::Kind::kResponses};
  };
  struct Waiting {
    std::string_view method;
    KeptTemplate path_template;
    uint64_t began_us;
    bool is_head;
  };

  void Read(bool are_requests, std::string_view bytes);
  // The protocol is known.
  void ReadKnown(bool are_requests, std::string_view bytes);
  void BeginHttp2();
  void ReadRequests(std::string_view bytes);
  void ReadResponses(std::string_view bytes);
  void OnRequestHead();
  void OnResponseHead();
  void Seen(const Waiting& request, uint32_t status, uint64_t ended_us);
  void Stop();

  HttpWatchUser* const user_;
  const PodKey pod_;
  const Client client_;
  bool is_over_ = false;
  // Both null: the protocol is not known yet.
  std::unique_ptr<Readers> readers_;
  std::unique_ptr<Http2Watch> http2_;
  // As long as it is not: what the client has sent of HTTP/2's preface, and nothing else.
  size_t preface_bytes_ = 0;
  uint64_t request_us_ = 0, response_us_ = 0;
  std::vector<Waiting> waiting_;
};

}  // namespace weft
