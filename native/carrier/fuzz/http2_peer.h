// SPDX-License-Identifier: Apache-2.0
// Feeds bytes to one side of an HTTP/2 connection as a peer that has authenticated could, in pieces of any size. What the connection's
// users do meanwhile follows from the input, too.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/loop.h"
#include "fuzz.h"
#include "http2/connect_request.h"
#include "http2/connection.h"
#include "http2/memory.h"
#include "tls/tls_socket.h"

namespace weft::fuzz {

// Numbers that follow from the input.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) {
    for (size_t i = 0; i < size; i++) state_ = (state_ ^ data[i]) * 1099511628211ull;
  }
  uint32_t Next(uint32_t below) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<uint32_t>(state_ >> 33) % below;
  }

 private:
  uint64_t state_ = 14695981039346656037ull;
};

// A tunnel whose other end sends some bytes, and consumes what it gets at once, late or never.
class StreamUser : public TunnelStreamUser, public StreamListener {
 public:
  StreamUser(std::unique_ptr<Http2Stream> stream, Choices* choices)
      : stream_(std::move(stream)), choices_(choices), to_send_(choices->Next(100'000)) {
    stream_->Listen(this);
  }
  void Begin() {
    if (stream_) stream_->Start(this);
    has_begun_ = true;
  }
  void Close() { stream_.reset(); }
  Http2Stream* stream() const { return stream_.get(); }
  bool has_begun() const { return has_begun_; }
  void Act() {
    if (!stream_) return;
    switch (choices_->Next(8)) {
      case 0:
        return stream_->Reset(NGHTTP2_CANCEL);
      case 1:
        return Close();
      case 2:
        if (has_begun_ && unconsumed_ > 0) stream_->Consume(std::exchange(unconsumed_, 0));
        return;
      default:
        if (has_begun_) stream_->Wake();
    }
  }

  ssize_t OnPull(uint8_t* to, size_t bytes_max) override {
    FUZZ_CHECK(bytes_max > 0);
    if (choices_->Next(4) == 0) return kLater;
    if (choices_->Next(64) == 0) return kFailed;
    const size_t count = std::min<size_t>({bytes_max, to_send_, 1 + choices_->Next(20'000)});
    memset(to, 'x', count);
    to_send_ -= count;
    return static_cast<ssize_t>(count);
  }
  void OnData(const uint8_t* bytes, size_t count) override {
    FUZZ_CHECK(!is_over_ && !has_ended_ && count > 0);
    for (size_t i = 0; i < count; i++) sum_ += bytes[i];
    unconsumed_ += count;
  }
  void OnBatchEnd() override {
    if (stream_ && unconsumed_ > 0 && choices_->Next(3) != 0) stream_->Consume(std::exchange(unconsumed_, 0));
  }
  void OnEnd() override {
    FUZZ_CHECK(!is_over_ && !has_ended_);
    has_ended_ = true;
  }
  void OnReset(uint32_t) override {
    FUZZ_CHECK(!is_over_);
    is_over_ = true;
  }
  void OnFinished() override {
    FUZZ_CHECK(!is_over_);
    is_over_ = true;
  }
  void OnResponse(uint32_t status) override {
    FUZZ_CHECK(!is_over_ && !has_begun_);
    if (status == 200) Begin();
  }
  void OnStreamReset(const StreamReset&) override {
    FUZZ_CHECK(!is_over_);
    is_over_ = true;
  }

 private:
  std::unique_ptr<Http2Stream> stream_;
  Choices* choices_;
  size_t to_send_;
  size_t unconsumed_ = 0;
  uint32_t sum_ = 0;
  bool has_begun_ = false;
  bool has_ended_ = false;
  bool is_over_ = false;
};

class Peer : public Http2Owner {
 public:
  Peer(const uint8_t* data, size_t size, bool is_server)
      : choices_(data, size), is_server_(is_server), connection_(std::make_unique<Http2Connection>(&loop_, this, 1, is_server)) {
    // Budgets that one input can use up, in some runs.
    StreamMemory& memory = StreamMemory::OfThread();
    memory.buffered_bytes_max = choices_.Next(4) == 0 ? 4'000 : 256 << 20;
    memory.lingering.set_max(choices_.Next(4) == 0 ? 2'000 : 64 << 20);
    Flush();
  }
  ~Peer() override {
    // Half of the users outlive their connection.
    if (choices_.Next(2) == 0) users_.clear();
    connection_->CloseStreams(StreamReset{});
    connection_.reset();
    users_.clear();
    loop_.RunOnce(0);
    const StreamMemory& memory = StreamMemory::OfThread();
    FUZZ_CHECK(memory.buffered() == 0 && memory.lingering.held() == 0 && memory.windows.held() == 0);
  }
  void Request() {
    if (auto stream = connection_->Request({{":method", "CONNECT"}, {":authority", "10.0.0.1:80"}}))
      users_.push_back(std::make_unique<StreamUser>(std::move(stream), &choices_));
    Flush();
  }
  void Receive(const uint8_t* data, size_t size) {
    size_t turns = 0;
    while (size > 0) {
      const size_t count = std::min<size_t>(size, choices_.Next(4) == 0 ? 1 + choices_.Next(20) : 1 + choices_.Next(16'384));
      const bool is_open = connection_->Receive(data, count);
      Flush();
      FUZZ_CHECK(connection_->buffered() <= std::min<uint64_t>(32u << 20, StreamMemory::OfThread().buffered_bytes_max));
      if (!is_open) return;
      data += count;
      size -= count;
      if (++turns > 64) continue;
      for (const auto& user : users_) user->Act();
      if (choices_.Next(8) == 0) connection_->Ping();
      if (choices_.Next(32) == 0) connection_->SubmitShutdownNotice();
      Flush();
    }
  }

  void OnRequest(std::unique_ptr<Http2Stream> stream, const HeaderFields& fields, size_t list_bytes) override {
    FUZZ_CHECK(is_server_ && users_.size() < 100'000);
    TunnelQuestion question;
    const std::string why = ReadConnect(fields, list_bytes, &question);
    if (why.empty()) FUZZ_CHECK(question.authority.port != 0);
    Http2Stream* const raw = stream.get();
    if (!why.empty()) return raw->Respond(400, true);
    users_.push_back(std::make_unique<StreamUser>(std::move(stream), &choices_));
    const uint32_t choice = choices_.Next(4);
    if (choice == 0) return;  // never answered
    if (choice == 1) return raw->Respond(403, true);
    raw->Respond(200, false);
    users_.back()->Begin();
  }
  void OnSettings() override {}
  void OnPingAck() override {}
  void OnGoAway() override {}
  void OnStreamClosed() override {}
  void WantsFlush() override {}
  uint64_t RttUs() override { return 1'000; }

 private:
  void Flush() {
    // A peer that does not read at all is one in four.
    if (choices_.Next(4) == 0) return;
    for (int i = 0; i < 64; i++)
      if (connection_->Produce(out_.get(), TlsBuffers::kStagingBytes) == 0) break;
    connection_->DeliverPending();
    loop_.RunOnce(0);
  }

  Choices choices_;
  const bool is_server_;
  const std::unique_ptr<uint8_t[]> out_{new uint8_t[TlsBuffers::kStagingBytes]};
  Loop loop_;
  std::unique_ptr<Http2Connection> connection_;
  std::vector<std::unique_ptr<StreamUser>> users_;
};

}  // namespace weft::fuzz
