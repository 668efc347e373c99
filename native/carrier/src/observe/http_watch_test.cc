// SPDX-License-Identifier: Apache-2.0
#include "observe/http_watch.h"

#include "observe/test_vectors.h"

namespace weft {

namespace {
struct Seen : HttpWatchUser {
  void OnHttp(const HttpSeen& seen) override {
    all.push_back("=" + std::string(seen.method) + " " + std::string(seen.path_template) + " " + std::to_string(seen.status));
  }
  void OnHttpLimit() override { limits++; }
  std::vector<std::string> all;
  int limits = 0;
};

constexpr PodKey kPod = 7;

void Give(HttpWatch* watch, bool is_sent, std::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  if (is_sent)
    watch->Sent(bytes, text.size());
  else
    watch->Received(bytes, text.size());
}

// What is seen of a conversation whose parts arrive in pieces of this size.
std::vector<std::string> See(const std::vector<std::string>& row, size_t piece, HttpWatch::Client client) {
  Seen seen;
  HttpWatch watch(&seen, kPod, client);
  for (const std::string& part : row) {
    if (part[0] != '>' && part[0] != '<') continue;
    const bool is_sent = (part[0] == '>') == (client == HttpWatch::Client::kPod);
    for (size_t at = 1; at < part.size(); at += piece) Give(&watch, is_sent, std::string_view(part).substr(at, piece));
  }
  watch.End();
  CHECK(seen.limits == 0);
  return seen.all;
}

const std::string kOk = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
}  // namespace

TEST_CASE("http watch: the table of the agent, however the bytes are split, on both sides") {
  const Vectors rows = ReadVectors("http1-exchanges.json");
  CHECK(rows.size() > 30);
  for (const auto& row : rows) {
    std::vector<std::string> expected;
    for (const std::string& part : row)
      if (part[0] == '=') expected.push_back(part);
    for (const size_t piece : {1, 2, 3, 7, 1000}) {
      CHECK_MESSAGE(See(row, piece, HttpWatch::Client::kPod) == expected, row[0]);
      CHECK_MESSAGE(See(row, piece, HttpWatch::Client::kPeer) == expected, row[0]);
    }
  }
}

TEST_CASE("http watch: a head of 64 KiB ends it, and a body of any size does not") {
  Seen seen;
  HttpWatch watch(&seen, kPod, HttpWatch::Client::kPod);
  Give(&watch, true, "POST /a HTTP/1.1\r\ncontent-length: 10000000\r\n\r\n");
  for (int i = 0; i < 100; i++) Give(&watch, true, std::string(100'000, 'a'));
  Give(&watch, false, kOk);
  CHECK(seen.all == std::vector<std::string>{"=POST /a 200"});
  Give(&watch, true, "GET /b HTTP/1.1\r\ncookie: " + std::string(Http1Reader::kHeadBytesMax, 'a') + "\r\n\r\n");
  CHECK(seen.limits == 1);
  Give(&watch, false, kOk);
  watch.End();
  CHECK(seen.all.size() == 1);
}

TEST_CASE("http watch: as many requests as may wait, and one more ends it") {
  for (const size_t more : {0, 1}) {
    Seen seen;
    HttpWatch watch(&seen, kPod, HttpWatch::Client::kPod);
    for (size_t i = 0; i < HttpWatch::kWaitingMax + more; i++) Give(&watch, true, "GET /a HTTP/1.1\r\n\r\n");
    CHECK(seen.limits == static_cast<int>(more));
    for (size_t i = 0; i < HttpWatch::kWaitingMax + more; i++) Give(&watch, false, kOk);
    CHECK(seen.all.size() == (more > 0 ? 0 : HttpWatch::kWaitingMax));
  }
}

TEST_CASE("http watch: paths of one pod leave room for those of another") {
  std::string path;
  for (int i = 0; i < 7; i++) path += "/abcdefghijklmnopqrstuvwxyz";
  std::vector<std::unique_ptr<HttpWatch>> open;
  Seen flood, seen;
  for (size_t bytes = 0; bytes < 2 * KeptTemplate::kBytesOfThread; bytes += HttpWatch::kWaitingMax * path.size()) {
    HttpWatch* const watch = open.emplace_back(std::make_unique<HttpWatch>(&flood, kPod, HttpWatch::Client::kPod)).get();
    for (size_t i = 0; i < HttpWatch::kWaitingMax; i++) Give(watch, true, "GET " + path + " HTTP/1.1\r\n\r\n");
  }
  // Its own requests are still counted.
  Give(open.back().get(), false, kOk);
  CHECK(flood.all == std::vector<std::string>{"=GET ** 200"});
  HttpWatch other(&seen, kPod + 1, HttpWatch::Client::kPod);
  Give(&other, true, "GET " + path + " HTTP/1.1\r\n\r\n");
  Give(&other, false, kOk);
  CHECK(seen.all == std::vector<std::string>{"=GET " + path + " 200"});
  open.clear();
  // All room is free again.
  HttpWatch later(&seen, kPod, HttpWatch::Client::kPod);
  Give(&later, true, "GET " + path + " HTTP/1.1\r\n\r\n");
  Give(&later, false, kOk);
  CHECK(seen.all.back() == "=GET " + path + " 200");
}

}  // namespace weft
