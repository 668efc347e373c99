// SPDX-License-Identifier: Apache-2.0
// A connection as a relay sees it: each byte of the input that is 0xff or 0xfe ends a part, the next part is of the other direction, or of
// the same. However the parts are split, the same requests are seen.
#include "observe/http_watch.h"

#include <string>
#include <vector>

#include "fuzz.h"

namespace {
struct Seen : weft::HttpWatchUser {
  void OnHttp(const weft::HttpSeen& seen) override {
    FUZZ_CHECK(seen.path_template.size() <= weft::kTemplateBytesMax);
    FUZZ_CHECK(seen.status < 1000);
    all.push_back(std::string(seen.method) + " " + std::string(seen.path_template) + " " + std::to_string(seen.status));
  }
  void OnHttpLimit() override {}
  std::vector<std::string> all;
};

std::vector<std::string> See(const uint8_t* data, size_t size, size_t piece) {
  Seen seen;
  weft::HttpWatch watch(&seen, 1, weft::HttpWatch::Client::kPod);
  bool is_sent = true;
  size_t from = 0;
  for (size_t at = 0; at <= size; at++) {
    const bool is_end = at == size || data[at] >= 0xfe;
    if (!is_end && at - from < piece) continue;
    if (at > from) {
      if (is_sent)
        watch.Sent(data + from, at - from);
      else
        watch.Received(data + from, at - from);
    }
    from = at;
    if (!is_end) continue;
    if (at < size && data[at] == 0xff) is_sent = !is_sent;
    from = at + 1;
  }
  watch.End();
  return seen.all;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> whole = See(data, size, SIZE_MAX);
  FUZZ_CHECK(See(data, size, 1) == whole);
  FUZZ_CHECK(See(data, size, 5) == whole);
  return 0;
}
