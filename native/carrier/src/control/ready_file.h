// SPDX-License-Identifier: Apache-2.0
// A file whose time says when this carrier was last in use, for a readiness probe (native/ready). It is opened before the sandbox, in which
// no file can be opened any more.
#pragma once

#include <string>

#include "base/fd.h"

namespace weft {

class ReadyFile {
 public:
  // The file is old until the first Touch.
  bool Open(const std::string& path, std::string* why);
  void Touch() const;

 private:
  Fd fd_;
};

}  // namespace weft
