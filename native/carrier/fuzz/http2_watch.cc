// SPDX-License-Identifier: Apache-2.0
// An HTTP/2 connection as a relay sees it. The first byte of each part says whose it is and how many bytes it has; the preface and both first
// frames are there already. However the parts are split, the same requests are seen.
#include <algorithm>
#include <string>
#include <vector>

#include "fuzz.h"
#include "observe/http_watch.h"

namespace {
struct Seen : weft::HttpWatchUser {
  void OnHttp(const weft::HttpSeen& seen) override {
    FUZZ_CHECK(seen.path_template.size() <= weft::kTemplateBytesMax);
    FUZZ_CHECK(seen.status < 1000);
    FUZZ_CHECK(seen.grpc <= weft::kNoGrpc);
    all.push_back(std::string(seen.method) + " " + std::string(seen.path_template) + " " + std::to_string(seen.status) + " " +
                  std::to_string(seen.grpc));
  }
  void OnHttpLimit() override {}
  std::vector<std::string> all;
};

constexpr char kSettings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};

void Give(weft::HttpWatch* watch, bool is_sent, const uint8_t* bytes, size_t count, size_t piece) {
  for (size_t at = 0; at < count; at += piece) {
    const size_t some = std::min(piece, count - at);
    if (is_sent)
      watch->Sent(bytes + at, some);
    else
      watch->Received(bytes + at, some);
    if (count - at <= piece) break;
  }
}

std::vector<std::string> See(const uint8_t* data, size_t size, size_t piece) {
  Seen seen;
  weft::HttpWatch watch(&seen, 1, weft::HttpWatch::Client::kPod);
  const std::string settings(kSettings, sizeof(kSettings)), begin = std::string(weft::Http2Reader::kPreface) + settings;
  Give(&watch, true, reinterpret_cast<const uint8_t*>(begin.data()), begin.size(), piece);
  Give(&watch, false, reinterpret_cast<const uint8_t*>(settings.data()), settings.size(), piece);
  while (size > 0) {
    const bool is_sent = (data[0] & 0x80) == 0;
    const size_t count = std::min<size_t>((data[0] & 0x7f) + 1, size - 1);
    Give(&watch, is_sent, data + 1, count, piece);
    data += 1 + count;
    size -= 1 + count;
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
