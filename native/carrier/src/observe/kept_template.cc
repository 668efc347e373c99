// SPDX-License-Identifier: Apache-2.0
#include "observe/kept_template.h"

#include <utility>

namespace weft {

namespace {
// A string of this size needs no memory of its own.
constexpr size_t kBytesFree = 15;

PodShares& Bytes() {
  static thread_local PodShares bytes{KeptTemplate::kBytesOfThread};
  return bytes;
}
}  // namespace

KeptTemplate::KeptTemplate(PodKey pod, std::string path_template) : pod_(pod), text_(std::move(path_template)) {
  if (text_.size() <= kBytesFree) return;
  if (Bytes().Take(pod_, text_.size()))
    taken_ = text_.size();
  else
    text_ = std::string("**");
}

KeptTemplate::~KeptTemplate() { Release(); }

KeptTemplate::KeptTemplate(KeptTemplate&& other) noexcept
    : pod_(other.pod_), text_(std::move(other.text_)), taken_(std::exchange(other.taken_, 0)) {}

KeptTemplate& KeptTemplate::operator=(KeptTemplate&& other) noexcept {
  Release();
  pod_ = other.pod_;
  text_ = std::move(other.text_);
  taken_ = std::exchange(other.taken_, 0);
  return *this;
}

void KeptTemplate::Release() {
  if (taken_ > 0) Bytes().Release(pod_, taken_);
}

}  // namespace weft
