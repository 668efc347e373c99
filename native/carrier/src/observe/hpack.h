// SPDX-License-Identifier: Apache-2.0
// The heads in one direction of an HTTP/2 connection (RFC 7541), of which nghttp2 keeps the table. Of a head is kept what Http1Reader keeps,
// and what is needed of a gRPC call.
#pragma once

#include <nghttp2/nghttp2.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "observe/http_seen.h"
#include "observe/path_template.h"
#include "observe/watch_memory.h"

namespace weft {

class HpackReader {
 public:
  // A sender may use as much as its peer announced: browsers announce this, others the default of 4 KiB. Of one that uses more the heads
  // cannot be followed.
  static constexpr uint32_t kTableBytesMax = 64 << 10;
  // What a byte of a connection may cost in bytes of paths: a table repeats a long path for a byte. Beyond it a path counts as `**`.
  static constexpr uint64_t kPathBytesPerByte = 16;
  static constexpr uint64_t kPathBytesMax = 64 << 10;

  explicit HpackReader(WatchMemory* memory);
  ~HpackReader();
  HpackReader(const HpackReader&) = delete;
  HpackReader& operator=(const HpackReader&) = delete;

  // So many bytes arrived, of whatever frames.
  void Arrived(size_t bytes);
  // The next part of a block of fields. False: it is malformed, or there is no memory.
  bool Read(std::string_view bytes, bool is_last);
  // A block begins.
  void Clear();

  std::string_view method() const { return {method_.data(), method_bytes_}; }
  bool has_path() const { return has_path_; }
  std::string_view path() const { return path_.text(); }
  // 0: there is none.
  uint32_t status() const { return status_; }
  // Its content type is that of gRPC.
  bool is_grpc() const { return is_grpc_; }
  // Its field grpc-status: 0 to 16, kGrpcInvalid or kGrpcAbsent.
  uint32_t grpc_status() const { return grpc_status_; }

 private:
  bool ReadField(const nghttp2_nv& field);
  bool ReadPath(std::string_view value);

  nghttp2_hd_inflater* inflater_ = nullptr;
  uint64_t path_bytes_left_ = 0;
  uint8_t method_bytes_ = 0;
  bool has_path_ = false;
  bool has_type_ = false;
  bool is_grpc_ = false;
  uint32_t status_ = 0;
  uint32_t grpc_status_ = kGrpcAbsent;
  std::array<char, 20> method_{};
  TemplatePath path_;
};

}  // namespace weft
