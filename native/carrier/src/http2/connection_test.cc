// SPDX-License-Identifier: Apache-2.0
// What a hostile peer may send: frames of its own making, without TLS.
#include "http2/connection.h"

#include <doctest/doctest.h>
#include <malloc.h>

#include <functional>
#include <string>
#include <vector>

#include "http2/memory.h"

using namespace weft;

namespace {
std::string Frame(uint8_t type, uint8_t flags, uint32_t id, const std::string& payload) {
  std::string frame;
  const auto put = [&](size_t value, int bytes) {
    while (bytes-- > 0) frame += static_cast<char>(value >> (8 * bytes));
  };
  put(payload.size(), 3);
  put(type, 1);
  put(flags, 1);
  put(id, 4);
  return frame + payload;
}
std::string Literal(const std::string& name, const std::string& value) {
  std::string field(1, '\0');
  for (const std::string* text : {&name, &value}) {
    size_t rest = text->size();
    if (rest < 127) {
      field += static_cast<char>(rest);
    } else {
      field += '\x7f';
      for (rest -= 127; rest >= 128; rest >>= 7) field += static_cast<char>(0x80 | (rest & 0x7f));
      field += static_cast<char>(rest);
    }
    field += *text;
  }
  return field;
}
const std::string kConnect = Literal(":method", "CONNECT") + Literal(":authority", "10.0.0.1:80");
std::string Ask(uint32_t id, const std::string& more = "") { return Frame(1, 4, id, kConnect + more); }
std::string Rst(uint32_t id) { return Frame(3, 0, id, std::string("\0\0\0\x08", 4)); }
std::string WindowUpdate(uint32_t id, uint8_t bytes) { return Frame(8, 0, id, std::string(3, '\0') + static_cast<char>(bytes)); }

struct Peer : Http2Owner {
  explicit Peer(PodKey pod = 1) : connection(&loop, this, pod, true) {
    Feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(4, 0, 0, ""));
    Drain();
    Feed(Frame(4, 1, 0, ""));
  }
  bool Feed(const std::string& bytes) {
    return connection.Receive(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  // Frames of this side, by type and with the last bytes of GOAWAY and RST_STREAM.
  void Drain() {
    std::string out;
    uint8_t buffer[128 << 10];
    while (const size_t count = connection.Produce(buffer, sizeof(buffer))) out.append(reinterpret_cast<char*>(buffer), count);
    connection.DeliverPending();
    while (out.size() >= 9) {
      const auto at = [&](size_t i) { return static_cast<uint8_t>(out[i]); };
      const size_t length = static_cast<size_t>(at(0)) << 16 | static_cast<size_t>(at(1)) << 8 | at(2);
      if (at(3) == 7) goaway = at(9 + 7);
      if (at(3) == 3) resets.push_back(at(9 + 3));
      out.erase(0, 9 + length);
    }
  }
  void OnRequest(std::unique_ptr<Http2Stream> stream, const HeaderFields&, size_t bytes) override {
    list_bytes = bytes;
    if (keeps) streams.push_back(std::move(stream));
  }
  void OnSettings() override {}
  void OnPingAck() override {}
  void OnGoAway() override {}
  void OnStreamClosed() override { closed++; }
  void WantsFlush() override {}
  uint64_t RttUs() override { return 1; }

  Loop loop;
  Http2Connection connection;
  std::vector<std::unique_ptr<Http2Stream>> streams;
  std::vector<int> resets;
  int goaway = -1, closed = 0;
  size_t list_bytes = 0;
  bool keeps = true;
};

// Reads nothing, and ends its direction at once.
struct SlowReader : TunnelStreamUser {
  explicit SlowReader(std::unique_ptr<Http2Stream> owned) : stream(std::move(owned)) {
    stream->Respond(200, false);
    stream->Start(this);
  }
  ssize_t OnPull(uint8_t*, size_t) override { return 0; }
  void OnData(const uint8_t*, size_t count) override { held += count; }
  void OnBatchEnd() override {}
  void OnEnd() override {}
  void OnReset(uint32_t) override { is_reset = true; }
  void OnFinished() override { is_finished = true; }
  std::unique_ptr<Http2Stream> stream;
  size_t held = 0;
  bool is_reset = false, is_finished = false;
};

struct MemoryLimit {
  explicit MemoryLimit(uint64_t max) { memory.buffered_bytes_max = max; }
  ~MemoryLimit() {
    CHECK(memory.buffered() == 0);
    memory.buffered_bytes_max = before;
  }
  StreamMemory& memory = StreamMemory::OfThread();
  const uint64_t before = memory.buffered_bytes_max;
};

struct FloodCase {
  std::string name;
  int burst;
  const char* why;
  std::function<std::string(uint32_t)> of;
  std::string before;
};
}  // namespace

TEST_CASE("a flood ends the connection with ENHANCE_YOUR_CALM") {
  const std::vector<FloodCase> floods = {
      {"streams opened and reset", 900, "reset", [](uint32_t i) { return Ask(2 * i + 1) + Rst(2 * i + 1); }, ""},
      {"streams that have to be reset", 900, "reset", [](uint32_t i) { return Ask(2 * i + 1, Literal(":path", "/")); }, ""},
      {"SETTINGS", 100, "SETTINGS", [](uint32_t) { return Frame(4, 0, 0, ""); }, ""},
      {"PING", 1000, "PING", [](uint32_t) { return Frame(6, 0, 0, std::string(8, 'p')); }, ""},
      {"PING acknowledgments", 1000, "PING", [](uint32_t) { return Frame(6, 1, 0, std::string(8, 'p')); }, ""},
      {"PRIORITY", 1000, "PRIORITY", [](uint32_t) { return Frame(2, 0, 9, std::string(5, '\0')); }, ""},
      {"unknown frames", 1000, "unknown", [](uint32_t) { return Frame(0x40, 0, 1, std::string(10, 'u')); }, ""},
      {"empty DATA", 1000, "empty DATA", [](uint32_t) { return Frame(0, 0, 1, ""); }, Ask(1)},
      {"GOAWAY", 1000, "GOAWAY", [](uint32_t) { return Frame(7, 0, 0, std::string(8, '\0')); }, Ask(1)},
      {"windows of streams beyond their maximum", 900, "reset",
       [](uint32_t i) { return Ask(2 * i + 1) + Frame(8, 0, 2 * i + 1, "\x7f\xff\xff\xff"); }, ""},
      {"WINDOW_UPDATE", 2000, "WINDOW_UPDATE", [](uint32_t) { return WindowUpdate(0, 1); }, ""},
  };
  for (const FloodCase& flood : floods) {
    CAPTURE(flood.name);
    Peer peer;
    if (!flood.before.empty()) CHECK(peer.Feed(flood.before));
    int count = 0;
    while (count < 2 * flood.burst && peer.Feed(flood.of(static_cast<uint32_t>(count)))) {
      peer.Drain();
      count++;
      std::erase_if(peer.streams, [](const auto& stream) { return stream->is_closed(); });
    }
    peer.Drain();
    CHECK(count >= flood.burst - 2);
    CHECK(count <= flood.burst * 1.1);
    CHECK(peer.goaway == NGHTTP2_ENHANCE_YOUR_CALM);
    CHECK(peer.connection.is_flood());
    CHECK(peer.connection.why().find(flood.why) != std::string::npos);
  }
}

TEST_CASE("a header block is bounded") {
  Peer endless;
  CHECK(endless.Feed(Frame(1, 0, 1, kConnect)));
  int count = 0;
  while (count < 100 && endless.Feed(Frame(9, 0, 1, ""))) count++;
  endless.Drain();
  CHECK(count < 30);
  CHECK(endless.goaway > 0);
  Peer large;
  CHECK(!large.Feed(Frame(1, 4, 1, std::string(200'000, 'x'))));
  large.Drain();
  CHECK(large.goaway == NGHTTP2_ENHANCE_YOUR_CALM);
}

TEST_CASE("a header list beyond the limit of reading resets its stream, one within it is reported") {
  Peer peer;
  CHECK(peer.Feed(Ask(1, Literal("baggage", std::string(20'000, 'b')))));
  CHECK(peer.list_bytes > 20'000);
  CHECK(peer.Feed(Ask(3, Literal("a", std::string(60'000, 'b')) + Literal("b", std::string(30'000, 'b')))));
  std::string many;
  for (int i = 0; i < 40; i++) many += Literal("x", "y");
  CHECK(peer.Feed(Ask(5, many)));
  peer.Drain();
  CHECK(peer.resets == std::vector<int>{NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_ENHANCE_YOUR_CALM});
  CHECK(peer.Feed(Ask(7)));
  CHECK(peer.streams.size() == 2);
}

TEST_CASE("a connection holds no more than a stated amount for what its peer has sent and no stream needs") {
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 16; i++) {
    peers.push_back(std::make_unique<Peer>());
    peers.back()->keeps = false;
  }
  const size_t before = mallinfo2().uordblks;
  for (const auto& peer : peers) {
    // The end of a request whose header list is long, of one that is reset for it, and a GOAWAY that never ends.
    CHECK(peer->Feed(Ask(1, Literal("baggage", std::string(60'000, 'b')))));
    CHECK(peer->Feed(Ask(3, Literal("a", std::string(60'000, 'b')) + Literal("b", std::string(30'000, 'b')))));
    peer->Drain();
    std::string goaway = Frame(7, 0, 0, std::string(1 << 20, '\0'));
    goaway.pop_back();
    peer->Feed(goaway);
  }
  CHECK(mallinfo2().uordblks < before + 16 * (20 << 10));
  for (const auto& peer : peers) {
    peer->Drain();
    CHECK(peer->goaway == NGHTTP2_ENHANCE_YOUR_CALM);
  }
  // What is useful of the text is far shorter.
  Peer peer;
  CHECK(peer.Feed(Frame(7, 0, 0, std::string(8, '\0') + std::string(4'096, 't'))));
}

TEST_CASE("bytes beyond a stream's window reset it or end the connection") {
  Peer peer;
  CHECK(peer.Feed(Ask(1)));
  bool is_open = true;
  for (int i = 0; i < 40 && is_open; i++) is_open = peer.Feed(Frame(0, 0, 1, std::string(16'384, 'd')));
  peer.Drain();
  CHECK((!peer.resets.empty() || peer.goaway == NGHTTP2_FLOW_CONTROL_ERROR));
}

TEST_CASE("beyond the bytes that the process may buffer, the stream that buffers most is reset") {
  StreamMemory& memory = StreamMemory::OfThread();
  const uint64_t before = memory.buffered_bytes_max;
  memory.buffered_bytes_max = 100'000;
  {
    Peer peer;
    CHECK(peer.Feed(Ask(1) + Ask(3)));
    CHECK(peer.Feed(Frame(0, 0, 1, std::string(16'000, 'd')) + Frame(0, 0, 3, std::string(16'000, 'd'))));
    for (int i = 0; i < 2; i++) CHECK(peer.Feed(Frame(0, 0, 1, std::string(16'000, 'd'))));
    for (int i = 0; i < 3; i++) CHECK(peer.Feed(Frame(0, 0, 3, std::string(16'000, 'd'))));
    peer.Drain();
    CHECK(peer.resets == std::vector<int>{NGHTTP2_ENHANCE_YOUR_CALM});
    CHECK(!peer.streams[0]->is_closed());
    CHECK(peer.streams[1]->is_closed());
  }
  CHECK(memory.buffered() == 0);
  memory.buffered_bytes_max = before;
}

TEST_CASE("bytes of closed streams that wait for a slow reader cost no other pod a tunnel") {
  const MemoryLimit limit(100'000);
  std::vector<std::unique_ptr<SlowReader>> readers;
  Peer other(2);
  CHECK(other.Feed(Ask(1)));
  {
    Peer peer(1);
    for (uint32_t id = 1; id < 24; id += 2) {
      CHECK(peer.Feed(Ask(id)));
      readers.push_back(std::make_unique<SlowReader>(std::move(peer.streams.back())));
      peer.Drain();
      CHECK(peer.Feed(Frame(0, 1, id, std::string(16'000, 'd'))));
      peer.Drain();
      CHECK(readers.back()->stream->is_closed());
      CHECK(other.Feed(Frame(0, 0, 1, std::string(1'000, 'd'))));
    }
    CHECK(!other.streams[0]->is_closed());
    peer.connection.CloseStreams({});
  }
  CHECK(other.Feed(Frame(0, 0, 1, std::string(16'000, 'd'))));
  CHECK(!other.streams[0]->is_closed());
}

TEST_CASE("closed streams linger within a share of their pod, and those beyond it are reset") {
  const MemoryLimit limit(1 << 20);
  PodShares& lingering = limit.memory.lingering;
  lingering.set_max(128'000);
  std::vector<std::string> reached;
  limit.memory.on_limit = [&](const char* name) { reached.push_back(name); };
  const auto close = [](Peer* peer, uint32_t id, const std::string& end) {
    CHECK(peer->Feed(Ask(id)));
    auto reader = std::make_unique<SlowReader>(std::move(peer->streams.back()));
    peer->Drain();
    CHECK(peer->Feed(Frame(0, end.empty(), id, std::string(16'000, 'd')) + end));
    peer->Drain();
    CHECK(reader->stream->is_closed());
    return reader;
  };
  {
    Peer peer(1), other(2);
    std::vector<std::unique_ptr<SlowReader>> readers;
    for (uint32_t id = 1; id < 8; id += 2) readers.push_back(close(&peer, id, id == 3 ? Rst(id) : ""));
    // While it leaves as much as it holds, of what is not reserved for floors.
    CHECK(readers[0]->stream->may_linger());
    CHECK(readers[0]->is_finished);
    CHECK(readers[1]->is_reset);
    CHECK(readers[2]->stream->may_linger());
    CHECK(!readers[3]->stream->may_linger());
    CHECK(reached == std::vector<std::string>{"linger"});
    CHECK(lingering.held() == 48'000);
    const auto theirs = close(&other, 1, "");
    CHECK(theirs->stream->may_linger());
    // Bytes that are read leave room.
    readers[0]->stream->Consume(16'000);
    CHECK(lingering.held() == 48'000);
    readers.pop_back();
    readers.push_back(close(&peer, 9, ""));
    CHECK(readers.back()->stream->may_linger());
    readers.clear();
    CHECK(lingering.held() == 16'000);
  }
  CHECK(lingering.held() == 0);
  limit.memory.on_limit = nullptr;
  lingering.set_max(64 << 20);
}

TEST_CASE("the pod that buffers most loses a stream, over however many connections it spreads") {
  const MemoryLimit limit(100'000);
  std::vector<std::unique_ptr<Peer>> many;
  Peer one(2);
  CHECK(one.Feed(Ask(1) + Frame(0, 0, 1, std::string(16'000, 'd')) + Frame(0, 0, 1, std::string(16'000, 'd'))));
  for (int i = 0; i < 5; i++) {
    many.push_back(std::make_unique<Peer>(1));
    CHECK(many.back()->Feed(Ask(1) + Frame(0, 0, 1, std::string(16'000, 'd'))));
  }
  CHECK(!one.streams[0]->is_closed());
  int closed = 0;
  for (const auto& peer : many) closed += peer->streams[0]->is_closed();
  CHECK(closed == 1);
}

TEST_CASE("pods that buffer much together cost a pod with little none of its streams") {
  const MemoryLimit limit(100'000);
  Peer little(1);
  CHECK(little.Feed(Ask(1) + Frame(0, 0, 1, std::string(10'000, 'd'))));
  std::vector<std::unique_ptr<Peer>> many;
  for (PodKey pod = 2; pod < 10; pod++) {
    many.push_back(std::make_unique<Peer>(pod));
    CHECK(many.back()->Feed(Ask(1) + Frame(0, 0, 1, std::string(16'000, 'd'))));
  }
  CHECK(!little.streams[0]->is_closed());
  CHECK(limit.memory.buffered() <= 100'000);
}

TEST_CASE("garbage ends the connection") {
  Peer peer;
  CHECK(!(peer.Feed(Frame(0, 0, 0, "x")) && (peer.Drain(), peer.connection.fault_code() == 0)));
  CHECK(peer.goaway == NGHTTP2_PROTOCOL_ERROR);
}
