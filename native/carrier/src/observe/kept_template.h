// SPDX-License-Identifier: Apache-2.0
// The path template of a request that waits for its response. All that wait on a thread share a budget, of which a pod has its share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "net/pod_shares.h"

namespace weft {

class KeptTemplate {
 public:
  // Of all connections of a thread. Without room a path counts as `**`.
  static constexpr uint64_t kBytesOfThread = 16 << 20;

  KeptTemplate(PodKey pod, std::string path_template);
  ~KeptTemplate();
  KeptTemplate(KeptTemplate&& other) noexcept;
  KeptTemplate& operator=(KeptTemplate&& other) noexcept;

  const std::string& text() const { return text_; }

 private:
  void Release();

  PodKey pod_;
  std::string text_;
  size_t taken_ = 0;
};

}  // namespace weft
