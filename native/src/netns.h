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

// A descriptor of the network namespace at a path, or -1 with *number set; ENOTTY if the path is something else. The file is
// inspected with O_PATH first: opening a FIFO blocks, and opening a device may have side effects.
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
  // Opened again through the descriptor, not the path, which may refer to another file by now.
  std::string again = "/proc/thread-self/fd/" + std::to_string(opened);
  int fd = open(again.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  *number = fd < 0 ? errno : 0;
  close(opened);
  if (fd < 0) {
    // ENOENT would mean that the namespace does not exist; here it means that /proc is not mounted.
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

// Keeps the calling thread in the network namespace at a path for the lifetime of the object. A thread that cannot return would
// serve other pods from the wrong network namespace: the process aborts.
class NetnsScope {
 public:
  explicit NetnsScope(const std::string& path) {
    home_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home_ < 0) {
      // A fault of the caller's environment, not of the namespace: without /proc no namespace can be observed.
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
