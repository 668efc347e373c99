// SPDX-License-Identifier: Apache-2.0
// Heads of CONNECT requests as fields, past HPACK: one per line, name and value separated by a space.
#include "http2/connect_request.h"

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = weft::fuzz::Text(data, size);
  weft::HeaderFields fields;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t space = std::min(line.find(' '), line.size());
    fields.emplace_back(line.substr(0, space), line.substr(std::min(line.size(), space + 1)));
  }
  weft::TunnelQuestion question;
  const std::string why = weft::ReadConnect(fields, size, &question);
  FUZZ_CHECK(why.size() < 1024);
  if (!why.empty()) return 0;
  FUZZ_CHECK(question.authority.port != 0);
  for (const auto& [name, value] : fields) FUZZ_CHECK(name != ":path" && name != ":protocol");
  return 0;
}
