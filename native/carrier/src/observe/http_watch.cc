// SPDX-License-Identifier: Apache-2.0
#include "observe/http_watch.h"

#include <array>
#include <utility>

#include "base/clock.h"

namespace weft {

namespace {
constexpr std::array<std::string_view, 9> kMethods = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                                      "CONNECT", "OPTIONS", "TRACE", "PATCH"};
constexpr uint32_t kSwitchingProtocols = 101, kOk = 200, kNoContent = 204, kNotModified = 304;
// A string of this size needs no memory of its own.
constexpr size_t kTemplateBytesFree = 15;

std::string_view MethodOf(std::string_view method) {
  for (const std::string_view known : kMethods)
    if (method == known) return known;
  return "other";
}

PodShares& TemplateBytes() {
  static thread_local PodShares bytes{HttpWatch::kTemplateBytesOfThread};
  return bytes;
}
}  // namespace

HttpWatch::HttpWatch(HttpWatchUser* user, PodKey pod, Client client)
    : user_(user), pod_(pod), client_(client), readers_(std::make_unique<Readers>()) {}

HttpWatch::~HttpWatch() { Stop(); }

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
  std::string path_template = PathTemplate(reader.path().text());
  if (path_template.size() > kTemplateBytesFree && !TemplateBytes().Take(pod_, path_template.size())) path_template = "**";
  waiting_.push_back({MethodOf(reader.method()), std::move(path_template), request_us_, reader.method() == "HEAD"});
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
  Pop();
  reader.BeginBody(may_have_body);
}

void HttpWatch::Seen(const Waiting& request, uint32_t status, uint64_t ended_us) {
  user_->OnHttp({request.method, request.path_template, status, ended_us > request.began_us ? ended_us - request.began_us : 0});
}

void HttpWatch::Pop() {
  if (const size_t bytes = waiting_.front().path_template.size(); bytes > kTemplateBytesFree) TemplateBytes().Release(pod_, bytes);
  waiting_.erase(waiting_.begin());
}

void HttpWatch::End() {
  if (!readers_) return;
  const uint64_t now_us = MonotonicUs();
  for (const Waiting& request : waiting_) Seen(request, 0, now_us);
  Stop();
}

void HttpWatch::Stop() {
  while (!waiting_.empty()) Pop();
  waiting_.shrink_to_fit();
  readers_.reset();
}

}  // namespace weft
