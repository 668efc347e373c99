// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace weft {

// The calling thread is in the namespace at a path for as long as this lives. A thread that cannot come back would serve
// other pods from the wrong place: it aborts.
class Inside {
 public:
  explicit Inside(const std::string& path) {
    home_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home_ < 0) {
      number_ = errno;
      return;
    }
    if (path.empty()) return;
    int there = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (there < 0 || setns(there, CLONE_NEWNET) != 0)
      number_ = errno;
    else
      away_ = true;
    if (there >= 0) close(there);
  }
  ~Inside() {
    if (away_ && setns(home_, CLONE_NEWNET) != 0) {
      fprintf(stderr, "weft: cannot return to the agent's network namespace: %s\n", strerror(errno));
      abort();
    }
    if (home_ >= 0) close(home_);
  }
  int number() const { return number_; }

 private:
  int home_ = -1;
  int number_ = 0;
  bool away_ = false;
};

}  // namespace weft
