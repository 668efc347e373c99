// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace weft {

constexpr long kNsfsMagic = 0x6e736673;  // NSFS_MAGIC of linux/magic.h

// A descriptor of the network namespace at a path, or -1 with *number set; ENOTTY where the path is something else. What
// stands there is looked at by O_PATH first: to open a FIFO blocks, and to open a device may do things.
inline int OpenNetns(const std::string& path, int* number) {
  int opened = open(path.c_str(), O_PATH | O_CLOEXEC);
  if (opened < 0) {
    *number = errno;
    return -1;
  }
  struct statfs about;
  if (fstatfs(opened, &about) != 0) {
    *number = errno;
    close(opened);
    return -1;
  }
  if (static_cast<long>(about.f_type) != kNsfsMagic) {
    *number = ENOTTY;
    close(opened);
    return -1;
  }
  // By the descriptor, not by the path, which may lead elsewhere by now.
  std::string again = "/proc/thread-self/fd/" + std::to_string(opened);
  int fd = open(again.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  *number = fd < 0 ? errno : 0;
  close(opened);
  if (fd < 0) {
    // ENOENT would say that the namespace is not there; here it says that /proc is not.
    if (*number == ENOENT) *number = EIO;
    return -1;
  }
  if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
    *number = ENOTTY;
    close(fd);
    return -1;
  }
  return fd;
}

// The calling thread is in the namespace at a path for as long as this lives. A thread that cannot come back would serve
// other pods from the wrong network namespace: it aborts.
class NetnsScope {
 public:
  explicit NetnsScope(const std::string& path) {
    home_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home_ < 0) {
      // Of the caller, not of the namespace: without /proc nothing is known of any namespace.
      number_ = errno == ENOENT ? EIO : errno;
      return;
    }
    if (path.empty()) return;
    int there = OpenNetns(path, &number_);
    if (there < 0) return;
    if (setns(there, CLONE_NEWNET) != 0)
      number_ = errno;
    else
      away_ = true;
    close(there);
  }
  ~NetnsScope() {
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
