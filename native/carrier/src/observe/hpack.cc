// SPDX-License-Identifier: Apache-2.0
#include "observe/hpack.h"

#include <algorithm>

namespace weft {

namespace {
constexpr std::string_view kGrpcType = "application/grpc";
constexpr size_t kStatusDigits = 3;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

// As isGrpcType (src/waypoint/http/grpc.ts): gRPC-Web is none, since it has its status in the body.
bool IsGrpcType(std::string_view type) {
  if (type.size() < kGrpcType.size()) return false;
  if (!std::equal(kGrpcType.begin(), kGrpcType.end(), type.begin(), [](char a, char b) { return a == Lower(b); })) return false;
  return type.size() == kGrpcType.size() || std::string_view("+; \t").find(type[kGrpcType.size()]) != std::string_view::npos;
}

// As grpcStatusOf (src/waypoint/telemetry/metrics.ts).
uint32_t GrpcStatus(std::string_view value) {
  if (value.size() == 1 && IsDigit(value[0])) return static_cast<uint32_t>(value[0] - '0');
  if (value.size() == 2 && value[0] == '1' && value[1] >= '0' && value[1] <= '6') return 10 + static_cast<uint32_t>(value[1] - '0');
  return kGrpcInvalid;
}

std::string_view Text(const uint8_t* bytes, size_t count) { return {reinterpret_cast<const char*>(bytes), count}; }
}  // namespace

HpackReader::HpackReader(WatchMemory* memory) {
  if (nghttp2_hd_inflate_new2(&inflater_, memory->allocator()) != 0) {
    inflater_ = nullptr;
    return;
  }
  // What its peer announced does not matter: a sender states each size that it uses.
  nghttp2_hd_inflate_change_table_size(inflater_, kTableBytesMax);
}

HpackReader::~HpackReader() {
  if (inflater_) nghttp2_hd_inflate_del(inflater_);
}

void HpackReader::Arrived(size_t bytes) {
  path_bytes_left_ = std::min<uint64_t>(path_bytes_left_ + kPathBytesPerByte * std::min<uint64_t>(bytes, kPathBytesMax), kPathBytesMax);
}

void HpackReader::Clear() {
  method_bytes_ = 0;
  has_path_ = has_type_ = is_grpc_ = false;
  status_ = 0;
  grpc_status_ = kGrpcAbsent;
  path_.Clear();
}

bool HpackReader::Read(std::string_view bytes, bool is_last) {
  if (!inflater_) return false;
  for (;;) {
    nghttp2_nv field;
    int flags = NGHTTP2_HD_INFLATE_NONE;
    const ssize_t count =
        nghttp2_hd_inflate_hd2(inflater_, &field, &flags, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), is_last ? 1 : 0);
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
    const bool is_field = (flags & NGHTTP2_HD_INFLATE_EMIT) != 0;
    if (is_field && !ReadField(field)) return false;
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) return nghttp2_hd_inflate_end_headers(inflater_) == 0;
    if (!is_field && bytes.empty()) return !is_last;
  }
}

bool HpackReader::ReadField(const nghttp2_nv& field) {
  const std::string_view name = Text(field.name, field.namelen), value = Text(field.value, field.valuelen);
  if (name == ":path") return ReadPath(value);
  if (name == ":method") {
    if (method_bytes_ > 0 || value.empty() || value.size() > method_.size()) return false;
    std::copy(value.begin(), value.end(), method_.begin());
    method_bytes_ = static_cast<uint8_t>(value.size());
  } else if (name == ":status") {
    if (status_ > 0 || value.size() != kStatusDigits || value[0] == '0' || !std::all_of(value.begin(), value.end(), IsDigit)) return false;
    for (const char c : value) status_ = status_ * 10 + static_cast<uint32_t>(c - '0');
  } else if (name == "content-type") {
    if (!has_type_) is_grpc_ = IsGrpcType(value);
    has_type_ = true;
  } else if (name == "grpc-status") {
    if (grpc_status_ == kGrpcAbsent) grpc_status_ = GrpcStatus(value);
  }
  return true;
}

bool HpackReader::ReadPath(std::string_view value) {
  if (has_path_ || value.empty()) return false;
  has_path_ = true;
  if (value.size() > path_bytes_left_) {
    // No path: its template is `**`.
    path_.Add('*');
    return true;
  }
  path_bytes_left_ -= value.size();
  for (const char c : value) path_.Add(c);
  return true;
}

}  // namespace weft
