// SPDX-License-Identifier: Apache-2.0
// The template of a request's path: that of src/telemetry/path-template.ts, by the same table of tests (src/telemetry/path-templates.json).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace weft {

// Of longer templates the rest is `**`.
constexpr size_t kTemplateBytesMax = 403;

// Replaces segments that look like identifiers by `*`, and those after the eighth, or after 400 bytes, by `**`. The query is left out. What
// is no path is `**`.
std::string PathTemplate(std::string_view path);

// The part of a request's target that its template depends on: bounded, whatever the target.
class TemplatePath {
 public:
  void Add(char c);
  void Clear();
  std::string_view text() const { return text_; }

 private:
  std::string text_;
  size_t segments_ = 0;
  size_t in_segment_ = 0;
  bool is_over_ = false;
};

}  // namespace weft
