// SPDX-License-Identifier: Apache-2.0
// What is seen of a request, and who hears of it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace weft {

// How a gRPC call ended: its status, 0 to 16, or one of these (carrier.proto has the same).
constexpr uint32_t kGrpcStatusMax = 16;
constexpr uint32_t kGrpcInvalid = 17;     // a status that is none of these
constexpr uint32_t kGrpcAbsent = 18;      // the response ended without one
constexpr uint32_t kGrpcIncomplete = 19;  // the call ended before its response did
// It is no gRPC call.
constexpr uint32_t kNoGrpc = 20;

// A request and its response.
struct HttpSeen {
  // A registered method, or `other`.
  std::string_view method;
  std::string_view path_template;
  // 0: the request ended before the response's head.
  uint32_t status = 0;
  uint64_t duration_us = 0;
  uint32_t grpc = kNoGrpc;
};

class HttpWatchUser {
 public:
  virtual ~HttpWatchUser() = default;
  virtual void OnHttp(const HttpSeen& seen) = 0;
  // A limit ended the watch, or left out a request: a head is too large, too many requests wait for responses, or memory is used up.
  virtual void OnHttpLimit() = 0;
};

inline std::string_view RegisteredMethod(std::string_view method) {
  constexpr std::array<std::string_view, 9> kMethods = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};
  for (const std::string_view known : kMethods)
    if (method == known) return known;
  return "other";
}

}  // namespace weft
