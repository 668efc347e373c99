// SPDX-License-Identifier: Apache-2.0
#include "observe/http_watch.h"

#include <algorithm>
#include <cstddef>

#include "base/clock.h"

namespace weft {

namespace {
constexpr uint32_t kSwitchingProtocols = 101, kOk = 200, kNoContent = 204, kNotModified = 304;
}  // namespace

HttpWatch::HttpWatch(HttpWatchUser* user, PodKey pod, Client client)
    : user_(user), pod_(pod), client_(client) {}

HttpWatch::~HttpWatch() { Stop(); }

void HttpWatch::Read(bool are_requests, std::string_view bytes) {
  if (bytes.empty()) return;
  if (!readers_ && !http2_) {
    if (!are_requests) {
      // Only a server of HTTP/2 speaks before it is asked. Http2Watch ends at another one.
      BeginHttp2();
    } else {
      const std::string_view left = Http2Reader::kPreface.substr(preface_bytes_);
      const auto same = static_cast<size_t>(
          std::mismatch(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(std::min(bytes.size(), left.size())), left.begin()).first -
          bytes.begin());
      if (same == bytes.size() && same < left.size()) {
        preface_bytes_ += same;
        return;
      }
      if (same == left.size()) {
        BeginHttp2();
      } else {
        readers_ = std::make_unique<Readers>();
        ReadRequests(Http2Reader::kPreface.substr(0, preface_bytes_));
      }
    }
  }
  ReadKnown(are_requests, bytes);
}

void HttpWatch::BeginHttp2() {
  http2_ = std::make_unique<Http2Watch>(user_, pod_);
  ReadKnown(true, Http2Reader::kPreface.substr(0, preface_bytes_));
}

void HttpWatch::ReadKnown(bool are_requests, std::string_view bytes) {
  if (http2_) {
    if (!(are_requests ? http2_->ReadRequests(bytes) : http2_->ReadResponses(bytes))) Stop();
  } else if (are_requests) {
    ReadRequests(bytes);
  } else {
    ReadResponses(bytes);
  }
}

void HttpWatch::ReadRequests(std::string_view bytes) {
  while (readers_) {
    switch (readers_->requests.Read(&bytes)) {
      case Http1Reader::Event::kMore:
        return;
      case Http1Reader::Event::kBegin:
        request_us_ = MonotonicUs();
        break;
      case Http1Reader::Event::kHead:
        OnRequestHead();
        break;
      case Http1Reader::Event::kStopped:
        if (readers_->requests.is_too_large()) user_->OnHttpLimit();
        Stop();
        break;
    }
  }
}

void HttpWatch::OnRequestHead() {
  Http1Reader& reader = readers_->requests;
  // What follows is of another protocol, once the response permits it.
  if (reader.method() == "CONNECT") return Stop();
  if (waiting_.size() == kWaitingMax) {
    user_->OnHttpLimit();
    return Stop();
  }
  waiting_.push_back({RegisteredMethod(reader.method()), KeptTemplate(pod_, PathTemplate(reader.path().text())), request_us_,
                      reader.method() == "HEAD"});
  reader.BeginBody(true);
}

void HttpWatch::ReadResponses(std::string_view bytes) {
  while (readers_) {
    switch (readers_->responses.Read(&bytes)) {
      case Http1Reader::Event::kMore:
        return;
      case Http1Reader::Event::kBegin:
        response_us_ = MonotonicUs();
        // Nobody asked for it.
        if (waiting_.empty()) Stop();
        break;
      case Http1Reader::Event::kHead:
        OnResponseHead();
        break;
      case Http1Reader::Event::kStopped:
        if (readers_->responses.is_too_large()) user_->OnHttpLimit();
        Stop();
        break;
    }
  }
}

void HttpWatch::OnResponseHead() {
  Http1Reader& reader = readers_->responses;
  const uint32_t status = reader.status();
  if (status < kOk && status != kSwitchingProtocols) return reader.BeginBody(false);
  const Waiting& request = waiting_.front();
  const bool may_have_body = !request.is_head && status != kNoContent && status != kNotModified;
  Seen(request, status, response_us_);
  if (status == kSwitchingProtocols) return Stop();
  waiting_.erase(waiting_.begin());
  reader.BeginBody(may_have_body);
}

void HttpWatch::Seen(const Waiting& request, uint32_t status, uint64_t ended_us) {
  user_->OnHttp({request.method, request.path_template.text(), status, ended_us > request.began_us ? ended_us - request.began_us : 0});
}

void HttpWatch::End() {
  if (is_over_) return;
  if (http2_) http2_->End();
  const uint64_t now_us = MonotonicUs();
  for (const Waiting& request : waiting_) Seen(request, 0, now_us);
  Stop();
}

void HttpWatch::Stop() {
  is_over_ = true;
  waiting_.clear();
  waiting_.shrink_to_fit();
  readers_.reset();
  http2_.reset();
}

}  // namespace weft
