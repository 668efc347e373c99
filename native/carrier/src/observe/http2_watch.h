// SPDX-License-Identifier: Apache-2.0
// The requests of one HTTP/2 connection, as HttpWatch sees those of HTTP/1.1. A request counts at its response's head. A gRPC call counts at its
// end, where its status is, and has the time until its response's head as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string_view>

#include "net/pod_shares.h"
#include "observe/http2_reader.h"
#include "observe/http_seen.h"
#include "observe/kept_template.h"
#include "observe/watch_memory.h"

namespace weft {

class Http2Watch {
 public:
  // Requests of one connection that wait for their responses, and calls for their ends. Those beyond are not counted.
  static constexpr size_t kWaitingMax = 256;

  Http2Watch(HttpWatchUser* user, PodKey pod);

  // False: what follows cannot be understood, and the watch is over.
  bool ReadRequests(std::string_view bytes);
  bool ReadResponses(std::string_view bytes);
  // The connection has ended: what waits has no response, or not all of it.
  void End();

 private:
  struct Waiting {
    std::string_view method;
    KeptTemplate path_template;
    uint64_t began_us;
    bool is_grpc;
    // Of a call whose response has begun.
    uint32_t status = 0;
    uint64_t response_us = 0;
    uint32_t grpc = kGrpcAbsent;
  };
  // By stream.
  using WaitingMap = std::map<uint32_t, Waiting>;
  // Of an entry, with what the map adds.
  static constexpr size_t kWaitingBytes = sizeof(WaitingMap::value_type) + 64;

  bool OnRequestHead();
  bool OnResponseHead();
  // The response has ended without trailers.
  bool OnResponseEnd();
  void OnReset(uint32_t stream);
  void Seen(const Waiting& request, uint32_t grpc, uint64_t ended_us);
  void Cut(const Waiting& request, uint64_t now_us);
  void Remove(WaitingMap::iterator request);
  bool Stop(const Http2Reader& reader);

  HttpWatchUser* const user_;
  const PodKey pod_;
  WatchMemory memory_;
  Http2Reader requests_{Http2Reader::Kind::kRequests, &memory_};
  Http2Reader responses_{Http2Reader::Kind::kResponses, &memory_};
  // The last stream that the client opened.
  uint32_t last_stream_ = 0;
  WaitingMap waiting_;
};

}  // namespace weft
