// SPDX-License-Identifier: Apache-2.0
#include "tls/spiffe_id.h"

#include <algorithm>
#include <vector>

namespace weft {

namespace {
constexpr std::string_view kScheme = "spiffe://";
constexpr size_t kIdBytesMax = 2048;
constexpr size_t kTrustDomainBytesMax = 255;

bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsMark(char c) { return c == '.' || c == '_' || c == '-'; }

bool IsTrustDomain(std::string_view text) {
  return !text.empty() && text.size() <= kTrustDomainBytesMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsLowerOrDigit(c) || IsMark(c); });
}
bool IsSegment(std::string_view text) {
  return !text.empty() && text != "." && text != ".." && std::all_of(text.begin(), text.end(), [](char c) {
    return IsLowerOrDigit(c) || (c >= 'A' && c <= 'Z') || IsMark(c);
  });
}

// Safe to print: names come from peers.
std::string Quoted(std::string_view text, size_t bytes_max) {
  std::string out = "\"";
  for (const char c : text.substr(0, bytes_max)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c >= 0x20 && c < 0x7f ? c : '?';
  }
  return out + '"';
}

std::vector<std::string_view> Split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t slash = text.find('/');
    parts.push_back(text.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    text.remove_prefix(slash + 1);
  }
}
}  // namespace

std::string SpiffeIdFault(std::string_view text) {
  const auto refuse = [&](const char* reason) {
    return "WEFT_IDENTITY_INVALID: " + Quoted(text, 128) + " is not a SPIFFE ID: " + reason;
  };
  if (text.size() > kIdBytesMax) return refuse("longer than 2048 bytes");
  if (text.substr(0, kScheme.size()) != kScheme) return refuse("the scheme is not spiffe://");
  const auto parts = Split(text.substr(kScheme.size()));
  if (!IsTrustDomain(parts[0]))
    return "WEFT_IDENTITY_INVALID: trust domain " + Quoted(parts[0], 64) +
           " may contain only a-z, 0-9, '.', '_' and '-'";
  if (parts.size() == 1) return refuse("it has no path");
  if (!std::all_of(parts.begin() + 1, parts.end(), IsSegment))
    return refuse(
        "a path segment is empty, \".\" or \"..\", or has characters other than a-z, A-Z, 0-9, \".\", \"_\" and \"-\"");
  return "";
}

std::string NamespaceOf(std::string_view id) {
  if (id.substr(0, kScheme.size()) != kScheme) return "";
  const auto parts = Split(id.substr(kScheme.size()));
  if (parts.size() != 5 || parts[1] != "ns" || parts[3] != "sa" || parts[4].empty()) return "";
  return std::string(parts[2]);
}

}  // namespace weft
