// SPDX-License-Identifier: Apache-2.0
#include "observe/http2_watch.h"

#include <doctest/doctest.h>

#include <functional>
#include <memory>

#include "observe/http_watch.h"
#include "observe/test_http2.h"

namespace weft {

namespace {
struct Seen : HttpWatchUser {
  void OnHttp(const HttpSeen& seen) override {
    all.push_back(std::string(seen.method) + " " + std::string(seen.path_template) + " " + std::to_string(seen.status) +
                  (seen.grpc == kNoGrpc ? "" : " grpc " + std::to_string(seen.grpc)));
  }
  void OnHttpLimit() override { limits++; }
  std::vector<std::string> all;
  int limits = 0;
};
using All = std::vector<std::string>;

constexpr PodKey kPod = 7;

// A connection whose two sides begin as they should.
struct Connection {
  explicit Connection(bool begins = true, PodKey pod = kPod, size_t piece = SIZE_MAX, size_t table_bytes = 4096)
      : client(table_bytes), server(table_bytes), watch(&seen, pod, HttpWatch::Client::kPod), piece(piece) {
    if (!begins) return;
    Sent(TestHttp2::Begin());
    Received(TestHttp2::Settings());
  }
  // The parts of a list are made in order, as the table needs them to be; those of a sum are not.
  void Sent(std::initializer_list<std::string> parts) {
    for (const std::string& part : parts) Sent(part);
  }
  void Received(std::initializer_list<std::string> parts) {
    for (const std::string& part : parts) Received(part);
  }
  void Sent(const std::string& bytes) {
    for (size_t at = 0; at < bytes.size(); at += std::min(piece, bytes.size())) {
      const std::string part = bytes.substr(at, piece);
      watch.Sent(reinterpret_cast<const uint8_t*>(part.data()), part.size());
    }
  }
  void Received(const std::string& bytes) {
    for (size_t at = 0; at < bytes.size(); at += std::min(piece, bytes.size())) {
      const std::string part = bytes.substr(at, piece);
      watch.Received(reinterpret_cast<const uint8_t*>(part.data()), part.size());
    }
  }
  Seen seen;
  TestHttp2 client, server;
  HttpWatch watch;
  size_t piece;
};
}  // namespace

TEST_CASE("http2 watch: requests count at their response's head, in the order of responses, however the bytes are split") {
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, size_t{10}, SIZE_MAX}) {
    Connection connection(true, kPod, piece);
    Seen& seen = connection.seen;
  [[maybe_unused]] TestHttp2 &client = connection.client, &server = connection.server;
  [[maybe_unused]] HttpWatch& watch = connection.watch;
    connection.Sent({client.Request(1, "/orders/17?x=1"), client.Request(3, "/b", "DELETE"), client.Request(5, "/c")});
    connection.Received({server.Response(3, "404"), server.Response(1, "200", false)});
    CHECK(seen.all == All{"DELETE /b 404", "GET /orders/* 200"});
    // A body counts no more, nor do trailers, whatever they contain.
    connection.Received(TestHttp2::Data(1, "HTTP/1.1 200 OK\r\n\r\n" + server.Response(5, "500"), false));
    connection.Received(server.Head(1, {{":status", "500"}, {"grpc-status", "13"}}, true));
    CHECK(seen.all.size() == 2);
    // Two interim responses are skipped.
    connection.Received({server.Response(5, "100", false), server.Response(5, "103", false), server.Response(5, "204")});
    CHECK(seen.all.back() == "GET /c 204");
    watch.End();
    CHECK(seen.all.size() == 3);
    CHECK(seen.limits == 0);
  }
}

TEST_CASE("http2 watch: tables of both sides are followed over many requests, whatever size they are changed to") {
  Connection connection(true, kPod, SIZE_MAX, 64 << 10);
  Seen& seen = connection.seen;
  [[maybe_unused]] TestHttp2 &client = connection.client, &server = connection.server;
  [[maybe_unused]] HttpWatch& watch = connection.watch;
  uint32_t stream = 1;
  for (const size_t table : {size_t{4096}, size_t{64 << 10}, size_t{0}, size_t{100}, size_t{4096}}) {
    client.SetTable(table);
    server.SetTable(table);
    for (int i = 0; i < 300; i++, stream += 2) {
      const std::string name(1, static_cast<char>('a' + i % 7));
      connection.Sent(client.Head(stream,
                                  {{":method", "GET"}, {":path", "/" + name}, {"x-" + std::to_string(i % 90), std::string(100, 'v')}}, true));
      connection.Received(server.Head(stream, {{":status", i % 7 == 0 ? "503" : "200"}, {"x-" + std::to_string(i % 50), "w"}}, true));
      REQUIRE(seen.all.back() == "GET /" + name + (i % 7 == 0 ? " 503" : " 200"));
    }
  }
  CHECK(seen.all.size() == 1500);
  // A sender that uses more than can be followed ends it.
  TestHttp2 large(1 << 20);
  large.SetTable(1 << 20);
  connection.Sent(large.Request(stream, "/a"));
  connection.Received(server.Response(stream, "200"));
  watch.End();
  CHECK(seen.all.size() == 1500);
}

TEST_CASE("http2 watch: a gRPC call counts at its end, with its status") {
  Connection connection;
  Seen& seen = connection.seen;
  [[maybe_unused]] TestHttp2 &client = connection.client, &server = connection.server;
  [[maybe_unused]] HttpWatch& watch = connection.watch;
  uint32_t stream = 1;
  const auto call = [&](const std::string& response) {
    connection.Sent({client.Call(stream), TestHttp2::Data(stream, "message", true)});
    const size_t before = seen.all.size();
    connection.Received(response);
    stream += 2;
    REQUIRE(seen.all.size() == before + 1);
    return seen.all.back();
  };
  const std::string name = "POST /shop.v1.Orders/Get 200 grpc ";
  // The order in which blocks are made is that in which they are read.
  const auto with_trailers = [&](const std::string& status) {
    const std::string head = server.Response(stream, "200", false);
    return head + TestHttp2::Data(stream, "message", false) + server.Trailers(stream, status);
  };
  CHECK(call(with_trailers("0")) == name + "0");
  CHECK(call(with_trailers("14")) == name + "14");
  CHECK(call(with_trailers("16")) == name + "16");
  for (const char* const invalid : {"17", "-1", "ok", "007"}) CHECK(call(with_trailers(invalid)) == name + std::to_string(kGrpcInvalid));
  // All in one head.
  CHECK(call(server.Head(stream, {{":status", "200"}, {"grpc-status", "5"}}, true)) == name + "5");
  CHECK(call(server.Response(stream, "200")) == name + std::to_string(kGrpcAbsent));
  CHECK(call(server.Response(stream, "503")) == "POST /shop.v1.Orders/Get 503 grpc " + std::to_string(kGrpcAbsent));
  CHECK(call(server.Response(stream, "200", false) + TestHttp2::Data(stream, "", true)) == name + std::to_string(kGrpcAbsent));
  // Reset by the server before its end, by the client, and cut with its connection.
  CHECK(call(server.Response(stream, "200", false) + TestHttp2::Reset(stream)) == name + std::to_string(kGrpcIncomplete));
  connection.Sent(client.Call(stream));
  connection.Received(server.Response(stream, "200", false));
  CHECK(seen.all.back() == name + std::to_string(kGrpcIncomplete));
  const size_t before = seen.all.size();
  connection.Sent(TestHttp2::Reset(stream));
  CHECK(seen.all.size() == before + 1);
  connection.Sent({client.Call(stream + 2), client.Call(stream + 4)});
  connection.Received(server.Response(stream + 2, "200", false));
  watch.End();
  CHECK(All(seen.all.end() - 2, seen.all.end()) == All{name + "19", "POST /shop.v1.Orders/Get 0 grpc 19"});
}

TEST_CASE("http2 watch: what is gRPC says its content type, as at a waypoint") {
  Connection connection;
  Seen& seen = connection.seen;
  [[maybe_unused]] TestHttp2 &client = connection.client, &server = connection.server;
  [[maybe_unused]] HttpWatch& watch = connection.watch;
  uint32_t stream = 1;
  for (const auto& [type, is_grpc] : std::vector<std::pair<std::string, bool>>{{"application/grpc", true},
                                                                               {"Application/gRPC+proto", true},
                                                                               {"application/grpc; x=1", true},
                                                                               {"application/grpc-web", false},
                                                                               {"application/grpcx", false},
                                                                               {"application/json", false}}) {
    connection.Sent(client.Call(stream, "/a", type));
    connection.Received(server.Head(stream, {{":status", "200"}, {"grpc-status", "3"}}, true));
    CHECK(seen.all.back() == (is_grpc ? "POST /a 200 grpc 3" : "POST /a 200"));
    stream += 2;
  }
}

TEST_CASE("http2 watch: a request that is reset, or whose connection ends, has no status") {
  Connection connection;
  Seen& seen = connection.seen;
  [[maybe_unused]] TestHttp2 &client = connection.client, &server = connection.server;
  [[maybe_unused]] HttpWatch& watch = connection.watch;
  connection.Sent({client.Request(1, "/a"), client.Request(3, "/b"), client.Request(5, "/c"), TestHttp2::Reset(1)});
  connection.Received(TestHttp2::Reset(3));
  CHECK(seen.all == All{"GET /a 0", "GET /b 0"});
  // A reset of what is over, or never was.
  connection.Received({TestHttp2::Reset(1), TestHttp2::Reset(99)});
  watch.End();
  CHECK(seen.all == All{"GET /a 0", "GET /b 0", "GET /c 0"});
}

TEST_CASE("http2 watch: padding, priorities and heads in parts") {
  Connection connection;
  Seen& seen = connection.seen;
  [[maybe_unused]] TestHttp2 &client = connection.client, &server = connection.server;
  [[maybe_unused]] HttpWatch& watch = connection.watch;
  const std::string block = client.Block({{":method", "PUT"}, {":path", "/padded"}});
  connection.Sent({TestHttp2::Frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_PRIORITY, 1,
                                   std::string("\x03\0\0\0\0\x10", 6) + block.substr(0, 2) + "pad") +
                  TestHttp2::Frame(NGHTTP2_CONTINUATION, 0, 1), TestHttp2::Frame(NGHTTP2_CONTINUATION, 0, 1, block.substr(2)) +
                  TestHttp2::Frame(NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, 1) +
                  TestHttp2::Frame(NGHTTP2_DATA, NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_END_STREAM, 1, std::string("\x02-body-pp"))});
  connection.Received({TestHttp2::Frame(NGHTTP2_PING, 0, 0, "12345678"), TestHttp2::Frame(0x77, 0xff, 9, "unknown"), server.Response(1, "201")});
  CHECK(seen.all == All{"PUT /padded 201"});
}

TEST_CASE("http2 watch: a server may speak first, and other protocols count nothing") {
  Connection first(false);
  first.Received(TestHttp2::Settings());
  first.Sent("PRI * HT");
  first.Sent(TestHttp2::Begin().substr(8));
  first.Sent(first.client.Request(1, "/a"));
  first.Received(first.server.Response(1, "200"));
  CHECK(first.seen.all == All{"GET /a 200"});
  for (const std::string& bytes : {std::string("SSH-2.0-OpenSSH\r\n"), std::string("220 mail\r\n"), TestHttp2::Frame(NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0)}) {
    Connection other(false);
    other.Received(bytes);
    other.Sent({TestHttp2::Begin(), other.client.Request(1, "/a")});
    other.Received({TestHttp2::Settings(), other.server.Response(1, "200")});
    other.watch.End();
    CHECK(other.seen.all.empty());
  }
  // HTTP/1.1 that begins as HTTP/2 does.
  Connection put(false, kPod, 1);
  put.Sent("PUT /a HTTP/1.1\r\ncontent-length: 0\r\n\r\nPRI /b HTTP/1.1\r\n\r\n");
  put.Received("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n");
  CHECK(put.seen.all == All{"PUT /a 204", "other /b 405"});
}

TEST_CASE("http2 watch: what is not sound ends it, and nothing is counted from there on") {
  using Fields = TestHttp2::Fields;
  const Fields request{{":method", "GET"}, {":path", "/a"}};
  const auto sent = [&](const std::function<std::string(TestHttp2*)>& make) {
    Connection connection;
    connection.Sent({make(&connection.client), connection.client.Request(9, "/after")});
    connection.Received(connection.server.Response(9, "200"));
    connection.watch.End();
    return connection.seen.all;
  };
  CHECK(sent([&](TestHttp2* client) { return client->Head(1, request, true); }) == All{"GET /after 200", "GET /a 0"});
  const std::vector<std::function<std::string(TestHttp2*)>> bad{
      [&](TestHttp2* client) { return client->Head(2, request, true); },
      [&](TestHttp2* client) { return client->Head(0, request, true); },
      [&](TestHttp2* client) { return client->Head(1, {{":method", "GET"}}, true); },
      [&](TestHttp2* client) { return client->Head(1, {{":path", "/a"}}, true); },
      [&](TestHttp2* client) { return client->Head(1, {{":method", "GET"}, {":path", "/a"}, {":path", "/b"}}, true); },
      [&](TestHttp2* client) { return client->Head(1, {{":method", "GET"}, {":method", "PUT"}, {":path", "/a"}}, true); },
      [&](TestHttp2*) { return TestHttp2::Frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, "\xff\xff\xff\xff\xff"); },
      [&](TestHttp2*) { return TestHttp2::Frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_PADDED, 1); },
      [&](TestHttp2*) { return TestHttp2::Frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_PADDED, 1, "\x09\x82"); },
      [&](TestHttp2*) { return TestHttp2::Frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_PRIORITY, 1, "1234"); },
      [&](TestHttp2*) { return TestHttp2::Frame(NGHTTP2_HEADERS, 0, 1, "\x82") + TestHttp2::Data(1, "a", false); },
      [&](TestHttp2*) { return TestHttp2::Frame(NGHTTP2_HEADERS, 0, 1, "\x82") + TestHttp2::Frame(NGHTTP2_CONTINUATION, 4, 3); },
      [&](TestHttp2*) { return TestHttp2::Frame(NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, 1); },
      [&](TestHttp2*) { return TestHttp2::Frame(NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 1, std::string("\0\0\0\x02", 4)); },
      [&](TestHttp2*) { return TestHttp2::Frame(NGHTTP2_RST_STREAM, 0, 1, "12"); },
      [&](TestHttp2*) { return TestHttp2::Data(0, "a", false); },
  };
  for (size_t i = 0; i < bad.size(); i++) CHECK_MESSAGE(sent(bad[i]).empty(), i);

  const auto received = [&](const std::function<std::string(TestHttp2*)>& make) {
    Connection connection;
    connection.Sent({connection.client.Call(1), connection.client.Request(3, "/after")});
    connection.Received({make(&connection.server), connection.server.Response(3, "200")});
    connection.watch.End();
    return connection.seen.all;
  };
  const std::vector<std::function<std::string(TestHttp2*)>> bad_responses{
      [&](TestHttp2* server) { return server->Response(5, "200"); },
      [&](TestHttp2* server) { return server->Response(2, "200"); },
      [&](TestHttp2* server) { return server->Head(1, {{"server", "x"}}, true); },
      [&](TestHttp2* server) { return server->Head(1, {{":status", "200"}, {":status", "500"}}, true); },
      [&](TestHttp2* server) { return server->Response(1, "20"); },
      [&](TestHttp2* server) { return server->Response(1, "099"); },
      [&](TestHttp2* server) { return server->Response(1, "100", true); },
      [&](TestHttp2*) { return TestHttp2::Data(1, "a", true); },
      [&](TestHttp2* server) { return server->Response(1, "200", false) + server->Response(1, "200", false); },
  };
  for (size_t i = 0; i < bad_responses.size(); i++) CHECK_MESSAGE(received(bad_responses[i]).empty(), i);
}

TEST_CASE("http2 watch: CONNECT is not counted, and other streams are") {
  Connection connection;
  Seen& seen = connection.seen;
  [[maybe_unused]] TestHttp2 &client = connection.client, &server = connection.server;
  [[maybe_unused]] HttpWatch& watch = connection.watch;
  connection.Sent({client.Head(1, {{":method", "CONNECT"}, {":authority", "a:1"}}, false), client.Request(3, "/b")});
  connection.Sent(client.Head(5, {{":method", "CONNECT"}, {":protocol", "websocket"}, {":path", "/chat"}}, false));
  connection.Received({server.Response(1, "200", false), server.Response(5, "200", false), server.Response(3, "200")});
  watch.End();
  CHECK(seen.all == All{"GET /b 200"});
}

TEST_CASE("http2 watch: requests beyond those that may wait are not counted, and later ones are") {
  Connection connection;
  Seen& seen = connection.seen;
  [[maybe_unused]] TestHttp2 &client = connection.client, &server = connection.server;
  [[maybe_unused]] HttpWatch& watch = connection.watch;
  uint32_t stream = 1;
  for (size_t i = 0; i < Http2Watch::kWaitingMax + 3; i++, stream += 2) connection.Sent(client.Request(stream, "/a"));
  CHECK(seen.limits == 3);
  for (uint32_t at = 1; at < stream; at += 2) connection.Received(server.Response(at, "200"));
  CHECK(seen.all.size() == Http2Watch::kWaitingMax);
  connection.Sent(client.Request(stream, "/b"));
  connection.Received(server.Response(stream, "200"));
  CHECK(seen.all.back() == "GET /b 200");
  CHECK(seen.limits == 3);
}

TEST_CASE("http2 watch: a head that is too large ends it, in one frame, in many, and in empty ones") {
  const std::string many = [] {
    std::string made = TestHttp2::Frame(NGHTTP2_HEADERS, 0, 1, "\x82");
    for (size_t i = 0; i <= Http2Reader::kHeadBytesMax; i++) made += TestHttp2::Frame(NGHTTP2_CONTINUATION, 0, 1);
    return made;
  }();
  const std::string large = TestHttp2::Frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, std::string(Http2Reader::kHeadBytesMax + 1, '\x82'));
  for (const std::string& bytes : {large, many}) {
    Connection connection;
    connection.Sent(bytes);
    CHECK(connection.seen.limits == 1);
    connection.Sent(connection.client.Request(3, "/a"));
    connection.Received(connection.server.Response(3, "200"));
    connection.watch.End();
    CHECK(connection.seen.all.empty());
  }
}

TEST_CASE("http2 watch: a long path that a table repeats for some bytes counts without it") {
  Connection connection;
  Seen& seen = connection.seen;
  [[maybe_unused]] TestHttp2 &client = connection.client, &server = connection.server;
  [[maybe_unused]] HttpWatch& watch = connection.watch;
  std::string path;
  while (path.size() < 2'006) path += "/abcdefghijklmnop";
  REQUIRE(path.size() == 2'006);
  for (uint32_t stream = 1; stream < 200; stream += 2) {
    // A path that goes into the table, and then its number there.
    const std::string block = stream == 1 ? "\x82\x44\x7f\xd7\x0e" + path : "\x82\xbe";
    connection.Sent(TestHttp2::Frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, stream, block));
    connection.Received(server.Response(stream, "200"));
  }
  CHECK(seen.all.front().starts_with("GET /abcdefghijklmnop/"));
  CHECK(seen.all.back() == "GET ** 200");
  // One that is as long as those of most requests is seen each time.
  for (uint32_t stream = 201; stream < 1000; stream += 2) {
    connection.Sent(client.Request(stream, "/shop.v1.Orders/GetOrder"));
    connection.Received(server.Response(stream, "200"));
    REQUIRE(seen.all.back() == "GET /shop.v1.Orders/GetOrder 200");
  }
}

TEST_CASE("http2 watch: connections of one pod leave room for those of another, and give theirs back") {
  std::vector<std::unique_ptr<Connection>> open;
  int limits = 0;
  for (int i = 0; i < 4000 && limits == 0; i++) {
    Connection& connection = *open.emplace_back(std::make_unique<Connection>());
    for (uint32_t stream = 1; stream < 400; stream += 2) connection.Sent(connection.client.Request(stream, "/a"));
    // A field of which 60 KiB follow, it says.
    connection.Sent(TestHttp2::Frame(NGHTTP2_HEADERS, 0, 401, std::string("\x40\x01x\x7f\xe1\xd3\x03", 7)));
    limits += connection.seen.limits;
  }
  CHECK(limits > 0);
  Connection other(true, kPod + 1);
  other.Sent(other.client.Request(1, "/a"));
  other.Received(other.server.Response(1, "200"));
  CHECK(other.seen.all == All{"GET /a 200"});
  open.clear();
  Connection later;
  later.Sent(later.client.Request(1, "/a"));
  later.Received(later.server.Response(1, "200"));
  CHECK(later.seen.all == All{"GET /a 200"});
  CHECK(later.seen.limits == 0);
}

}  // namespace weft
