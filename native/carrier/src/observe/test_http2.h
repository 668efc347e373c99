// SPDX-License-Identifier: Apache-2.0
// Bytes of one side of an HTTP/2 connection, for tests.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "observe/http2_reader.h"

namespace weft {

class TestHttp2 {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  explicit TestHttp2(size_t table_bytes = 4096) { nghttp2_hd_deflate_new(&deflater_, table_bytes); }
  ~TestHttp2() { nghttp2_hd_deflate_del(deflater_); }
  TestHttp2(const TestHttp2&) = delete;
  TestHttp2& operator=(const TestHttp2&) = delete;

  // The peer announced it.
  void SetTable(size_t bytes) { nghttp2_hd_deflate_change_table_size(deflater_, bytes); }

  static std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload = "") {
    std::string made;
    for (const int shift : {16, 8, 0}) made += static_cast<char>(payload.size() >> shift & 0xff);
    made += static_cast<char>(type);
    made += static_cast<char>(flags);
    for (const int shift : {24, 16, 8, 0}) made += static_cast<char>(stream >> shift & 0xff);
    return made + payload;
  }
  static std::string Settings() { return Frame(NGHTTP2_SETTINGS, 0, 0); }
  static std::string Begin() { return std::string(Http2Reader::kPreface) + Settings(); }
  static std::string Data(uint32_t stream, const std::string& body, bool is_end) {
    return Frame(NGHTTP2_DATA, is_end ? NGHTTP2_FLAG_END_STREAM : 0, stream, body);
  }
  static std::string Reset(uint32_t stream) { return Frame(NGHTTP2_RST_STREAM, 0, stream, std::string("\0\0\0\x08", 4)); }

  std::string Block(const Fields& fields) {
    std::vector<nghttp2_nv> list;
    for (const auto& [name, value] : fields) {
      const auto bytes = [](const std::string& text) { return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data())); };
      list.push_back({bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    std::string block(nghttp2_hd_deflate_bound(deflater_, list.data(), list.size()), 0);
    const ssize_t bytes =
        nghttp2_hd_deflate_hd(deflater_, reinterpret_cast<uint8_t*>(block.data()), block.size(), list.data(), list.size());
    block.resize(bytes > 0 ? static_cast<size_t>(bytes) : 0);
    return block;
  }
  std::string Head(uint32_t stream, const Fields& fields, bool is_end) {
    return Frame(NGHTTP2_HEADERS, static_cast<uint8_t>(NGHTTP2_FLAG_END_HEADERS | (is_end ? NGHTTP2_FLAG_END_STREAM : 0)), stream, Block(fields));
  }
  std::string Request(uint32_t stream, const std::string& path, const std::string& method = "GET") {
    return Head(stream, {{":method", method}, {":scheme", "http"}, {":path", path}, {":authority", "api"}}, true);
  }
  std::string Call(uint32_t stream, const std::string& path = "/shop.v1.Orders/Get", const std::string& type = "application/grpc") {
    return Head(stream, {{":method", "POST"}, {":scheme", "http"}, {":path", path}, {"content-type", type}, {"te", "trailers"}}, false);
  }
  std::string Response(uint32_t stream, const std::string& status, bool is_end = true) { return Head(stream, {{":status", status}}, is_end); }
  std::string Trailers(uint32_t stream, const std::string& grpc_status) { return Head(stream, {{"grpc-status", grpc_status}}, true); }

 private:
  nghttp2_hd_deflater* deflater_ = nullptr;
};

}  // namespace weft
