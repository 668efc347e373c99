// SPDX-License-Identifier: Apache-2.0
#include "observe/http2_watch.h"

#include "base/clock.h"

namespace weft {

namespace {
constexpr uint32_t kOk = 200;
}  // namespace

Http2Watch::Http2Watch(HttpWatchUser* user, PodKey pod) : user_(user), pod_(pod), memory_(pod) {}

bool Http2Watch::ReadRequests(std::string_view bytes) {
  for (;;) {
    switch (requests_.Read(&bytes)) {
      case Http2Reader::Event::kMore:
        return true;
      case Http2Reader::Event::kHead:
        if (!OnRequestHead()) return false;
        break;
      case Http2Reader::Event::kEnd:
        break;
      case Http2Reader::Event::kReset:
        OnReset(requests_.stream());
        break;
      case Http2Reader::Event::kStopped:
        return Stop(requests_);
    }
  }
}

bool Http2Watch::ReadResponses(std::string_view bytes) {
  for (;;) {
    switch (responses_.Read(&bytes)) {
      case Http2Reader::Event::kMore:
        return true;
      case Http2Reader::Event::kHead:
        if (!OnResponseHead()) return false;
        break;
      case Http2Reader::Event::kEnd:
        if (!OnResponseEnd()) return false;
        break;
      case Http2Reader::Event::kReset:
        OnReset(responses_.stream());
        break;
      case Http2Reader::Event::kStopped:
        return Stop(responses_);
    }
  }
}

bool Http2Watch::OnRequestHead() {
  const uint32_t stream = requests_.stream();
  const HpackReader& head = requests_.head();
  // Trailers of a request.
  if (stream <= last_stream_) return requests_.is_end();
  // Streams of clients are odd.
  if (stream % 2 == 0 || head.method().empty()) return false;
  last_stream_ = stream;
  // What follows on this stream is of another protocol.
  if (head.method() == "CONNECT") return true;
  if (!head.has_path()) return false;
  if (waiting_.size() == kWaitingMax || !memory_.Take(kWaitingBytes)) {
    user_->OnHttpLimit();
    return true;
  }
  waiting_.try_emplace(waiting_.end(), stream,
                       Waiting{RegisteredMethod(head.method()), KeptTemplate(pod_, PathTemplate(head.path())), requests_.began_us(),
                               head.is_grpc()});
  return true;
}

bool Http2Watch::OnResponseHead() {
  const HpackReader& head = responses_.head();
  // Nobody asked for it.
  if (responses_.stream() > last_stream_ || responses_.stream() % 2 == 0) return false;
  const auto found = waiting_.find(responses_.stream());
  // It was counted, and these are trailers. Or it could not be.
  if (found == waiting_.end()) return true;
  Waiting& request = found->second;
  if (request.status == 0) {
    if (head.status() == 0) return false;
    if (head.status() < kOk) return !responses_.is_end();
    request.status = head.status();
    request.response_us = responses_.began_us();
  } else if (!responses_.is_end()) {
    return false;
  }
  if (head.grpc_status() != kGrpcAbsent) request.grpc = head.grpc_status();
  if (request.is_grpc && !responses_.is_end()) return true;
  Seen(request, request.grpc, request.response_us);
  Remove(found);
  return true;
}

bool Http2Watch::OnResponseEnd() {
  const auto found = waiting_.find(responses_.stream());
  if (found == waiting_.end()) return true;
  // A body without a head.
  if (found->second.status == 0) return false;
  Seen(found->second, found->second.grpc, found->second.response_us);
  Remove(found);
  return true;
}

void Http2Watch::OnReset(uint32_t stream) {
  const auto found = waiting_.find(stream);
  if (found == waiting_.end()) return;
  Cut(found->second, MonotonicUs());
  Remove(found);
}

void Http2Watch::Seen(const Waiting& request, uint32_t grpc, uint64_t ended_us) {
  user_->OnHttp({request.method, request.path_template.text(), request.status,
                 ended_us > request.began_us ? ended_us - request.began_us : 0, request.is_grpc ? grpc : kNoGrpc});
}

void Http2Watch::Cut(const Waiting& request, uint64_t now_us) {
  Seen(request, kGrpcIncomplete, request.status > 0 ? request.response_us : now_us);
}

void Http2Watch::Remove(WaitingMap::iterator request) {
  waiting_.erase(request);
  memory_.Release(kWaitingBytes);
}

void Http2Watch::End() {
  const uint64_t now_us = MonotonicUs();
  for (const auto& [stream, request] : waiting_) Cut(request, now_us);
  waiting_.clear();
}

bool Http2Watch::Stop(const Http2Reader& reader) {
  if (reader.is_too_large() || memory_.is_used_up()) user_->OnHttpLimit();
  return false;
}

}  // namespace weft
