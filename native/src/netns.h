// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <list>
#include <string>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

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

// A network namespace that this thread used a moment ago. While the descriptor is open, the kernel gives the namespace's inode to no other
// one: a path whose inode is the same leads to the same namespace.
struct CachedNetns {
  std::string path;
  int fd;
  dev_t device;
  ino_t inode;
  uint64_t used_ms;
  uint64_t cookie;  // 0: not read yet
};

// What each thread keeps, so that a visit to a namespace costs one stat() and one pair of setns(). An open descriptor keeps a namespace
// alive: Sweep() closes what is not in use, and the caller calls it by a timer.
class NetnsThread {
 public:
  static NetnsThread& Of() {
    static thread_local NetnsThread thread;
    return thread;
  }
  NetnsThread(const NetnsThread&) = delete;
  ~NetnsThread() {
    Sweep(0);
    if (home_ >= 0) close(home_);
  }

  // The thread's own network namespace, or -1 with *number set.
  int Home(int* number) {
    if (home_ < 0) home_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    // A fault of the caller's environment, not of the namespace: without /proc no namespace can be observed.
    if (home_ < 0) *number = errno == ENOENT ? EIO : errno;
    return home_;
  }

  // The namespace at a path now; null with *number set. Valid until the next call.
  CachedNetns* Find(const std::string& path, int* number) {
    struct stat now;
    bool is_there = stat(path.c_str(), &now) == 0;
    for (auto cached = cached_.begin(); cached != cached_.end(); ++cached) {
      if (cached->path != path) continue;
      if (is_there && cached->device == now.st_dev && cached->inode == now.st_ino) {
        cached->used_ms = NowMs();
        cached_.splice(cached_.begin(), cached_, cached);
        return &*cached;
      }
      close(cached->fd);
      cached_.erase(cached);
      break;
    }
    int fd = OpenNetns(path, number);
    if (fd < 0 && (*number == EMFILE || *number == ENFILE) && !cached_.empty()) {
      Sweep(0);
      fd = OpenNetns(path, number);
    }
    // Not a missing namespace, but a missing /proc.
    if (fd < 0 && *number == ENOENT && access("/proc/thread-self/ns/net", F_OK) != 0) *number = EIO;
    if (fd < 0) return nullptr;
    if (fstat(fd, &now) != 0) {
      *number = errno;
      close(fd);
      return nullptr;
    }
    if (cached_.size() >= kCachedMax) {
      close(cached_.back().fd);
      cached_.pop_back();
    }
    cached_.push_front({path, fd, now.st_dev, now.st_ino, NowMs(), 0});
    return &cached_.front();
  }

  // Closes what was not used for `idle_ms`. Returns how many are left.
  size_t Sweep(uint64_t idle_ms) {
    uint64_t now_ms = NowMs();
    while (!cached_.empty() && now_ms - cached_.back().used_ms >= idle_ms) {
      close(cached_.back().fd);
      cached_.pop_back();
    }
    return cached_.size();
  }

 private:
  NetnsThread() = default;
  static uint64_t NowMs() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
  }
  static constexpr size_t kCachedMax = 64;
  int home_ = -1;
  std::list<CachedNetns> cached_;  // the last used first
};

// Calls of setns() by all threads, for tests.
inline std::atomic<uint64_t> setns_calls{0};

inline int Setns(int fd) {
  setns_calls.fetch_add(1, std::memory_order_relaxed);
  return setns(fd, CLONE_NEWNET);
}

// Keeps the calling thread in the network namespace at a path for the lifetime of the object; an empty path means the thread's own. A
// thread that cannot return would serve other pods from the wrong network namespace: the process aborts.
class NetnsScope {
 public:
  explicit NetnsScope(const std::string& path) {
    if (!path.empty() && !(there_ = NetnsThread::Of().Find(path, &number_))) return;
    Enter();
  }
  // Null: the thread's own.
  explicit NetnsScope(CachedNetns* there) : there_(there) { Enter(); }
  NetnsScope(const NetnsScope&) = delete;
  ~NetnsScope() {
    if (away_ && Setns(home_) != 0) {
      fprintf(stderr, "weft: cannot return to the agent's network namespace: %s\n", strerror(errno));
      abort();
    }
  }
  int number() const { return number_; }

  // Of this namespace; 0 with *number set.
  uint64_t Cookie(int* number) {
    if (there_ && there_->cookie) return there_->cookie;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint64_t cookie = 0;
    socklen_t length = sizeof(cookie);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0) *number = errno;
    if (fd >= 0) close(fd);
    if (there_ && cookie) there_->cookie = cookie;
    return cookie;
  }

 private:
  void Enter() {
    home_ = NetnsThread::Of().Home(&number_);
    if (home_ < 0 || !there_) return;
    if (Setns(there_->fd) != 0)
      number_ = errno;
    else
      away_ = true;
  }

  CachedNetns* there_ = nullptr;
  int home_ = -1;
  int number_ = 0;
  bool away_ = false;
};

}  // namespace weft
