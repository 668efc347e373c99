// SPDX-License-Identifier: Apache-2.0
// The HTTP/1.1 requests of one connection, as the relay sees them pass: method, path template, status, and the time from the request's
// first byte to the response's. It looks at the bytes and changes nothing. What it cannot follow ends it for that connection: CONNECT, an
// upgrade, messages without sound framing, bytes that are not HTTP/1.1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/pod_shares.h"
#include "observe/http1_reader.h"

namespace weft {

// A request and its response.
struct HttpSeen {
  // A registered method, or `other`.
  std::string_view method;
  std::string_view path_template;
  // 0: the connection ended before the response's head.
  uint32_t status = 0;
  uint64_t duration_us = 0;
};

class HttpWatchUser {
 public:
  virtual ~HttpWatchUser() = default;
  virtual void OnHttp(const HttpSeen& seen) = 0;
  // A limit ended the watch: a head is too large, or too many requests wait for responses.
  virtual void OnHttpLimit() = 0;
};

class HttpWatch {
 public:
  // Requests of one connection that wait for their responses.
  static constexpr size_t kWaitingMax = 32;
  // Bytes of templates that wait, of all connections of a thread. Without room a path counts as `**`.
  static constexpr uint64_t kTemplateBytesOfThread = 16 << 20;

  enum class Client : uint8_t {
    kPod,   // the pod's side sends the requests
    kPeer,  // the pod's side sends the responses
  };

  HttpWatch(HttpWatchUser* user, PodKey pod, Client client);
  ~HttpWatch();

  // Bytes that the pod's side sent, in order.
  void Sent(const uint8_t* bytes, size_t count) {
    if (readers_) Read(client_ == Client::kPod, {reinterpret_cast<const char*>(bytes), count});
  }
  void Received(const uint8_t* bytes, size_t count) {
    if (readers_) Read(client_ == Client::kPeer, {reinterpret_cast<const char*>(bytes), count});
  }
  // The connection has ended: requests without a response count with status 0.
  void End();

 private:
  struct Readers {
    Http1Reader requests{Http1Reader::Kind::kRequests};
    Http1Reader responses{Http1Reader::Kind::kResponses};
  };
  struct Waiting {
    std::string_view method;
    std::string path_template;
    uint64_t began_us;
    bool is_head;
  };

  void Read(bool are_requests, std::string_view bytes) {
    if (are_requests)
      ReadRequests(bytes);
    else
      ReadResponses(bytes);
  }
  void ReadRequests(std::string_view bytes);
  void ReadResponses(std::string_view bytes);
  void OnRequestHead();
  void OnResponseHead();
  void Seen(const Waiting& request, uint32_t status, uint64_t ended_us);
  void Pop();
  void Stop();

  HttpWatchUser* const user_;
  const PodKey pod_;
  const Client client_;
  // Null: the watch has ended.
  std::unique_ptr<Readers> readers_;
  uint64_t request_us_ = 0, response_us_ = 0;
  std::vector<Waiting> waiting_;
};

}  // namespace weft
