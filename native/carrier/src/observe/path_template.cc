// SPDX-License-Identifier: Apache-2.0
#include "observe/path_template.h"

#include <algorithm>

namespace weft {

namespace {
constexpr size_t kSegmentsMax = 8;
constexpr size_t kSegmentBytesMax = 32;
// Of names with dots, such as those of gRPC services.
constexpr size_t kNameBytesMax = 128;
constexpr size_t kHexBytesMin = 8;
constexpr size_t kSomeDigits = 3;
constexpr size_t kTemplateBytes = 400;
// More than this is not kept from one request to the next.
constexpr size_t kTextBytesKept = 128;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool IsPlain(char c) { return IsLetter(c) || IsDigit(c) || c == '.' || c == '_' || c == ':' || c == '-'; }
bool IsEnd(char c) { return c == '?' || c == '#' || c == ';'; }

// Two or more parts, each a letter and up to 31 letters, digits and underscores.
bool IsDottedName(std::string_view text) {
  size_t parts = 0, in_part = 0;
  for (const char c : text) {
    if (c == '.') {
      if (in_part == 0) return false;
      in_part = 0;
      continue;
    }
    if (!IsLetter(c) && (in_part == 0 || (!IsDigit(c) && c != '_'))) return false;
    if (in_part++ == 0) parts++;
    if (in_part > kSegmentBytesMax) return false;
  }
  return parts > 1 && in_part > 0;
}

bool IsIdentifier(std::string_view segment) {
  const auto digits = static_cast<size_t>(std::count_if(segment.begin(), segment.end(), IsDigit));
  if (segment.size() > kSegmentBytesMax) return segment.size() > kNameBytesMax || digits >= kSomeDigits || !IsDottedName(segment);
  if (!std::all_of(segment.begin(), segment.end(), IsPlain) || digits >= kSomeDigits) return true;
  if (!segment.empty() && digits == segment.size()) return true;
  return segment.size() >= kHexBytesMin && std::all_of(segment.begin(), segment.end(), IsHex);
}
}  // namespace

std::string PathTemplate(std::string_view path) {
  if (!path.starts_with('/')) return "**";
  path.remove_prefix(1);
  path = path.substr(0, std::min(path.find_first_of("?#;"), path.size()));
  std::string made;
  size_t bytes = 0;
  for (size_t kept = 0;; kept++) {
    const size_t end = path.find('/');
    const std::string_view segment = path.substr(0, end);
    const std::string_view one = IsIdentifier(segment) ? "*" : segment;
    bytes += one.size() + 1;
    made += '/';
    if (kept >= kSegmentsMax || bytes > kTemplateBytes) return made += "**";
    made += one;
    if (end == path.npos) return made;
    path.remove_prefix(end + 1);
  }
}

void TemplatePath::Add(char c) {
  if (is_over_) return;
  if (text_.empty()) {
    // What is no path has the same template, whatever follows.
    is_over_ = c != '/';
    text_ += c;
    return;
  }
  if (IsEnd(c)) {
    is_over_ = true;
    return;
  }
  if (c == '/') {
    in_segment_ = 0;
    text_ += c;
    is_over_ = ++segments_ > kSegmentsMax;
    return;
  }
  // A longer segment is an identifier, whatever it contains.
  if (in_segment_ > kNameBytesMax) return;
  in_segment_++;
  text_ += c;
}

void TemplatePath::Clear() {
  text_.clear();
  if (text_.capacity() > kTextBytesKept) text_.shrink_to_fit();
  segments_ = in_segment_ = 0;
  is_over_ = false;
}

}  // namespace weft
