// SPDX-License-Identifier: Apache-2.0
#include "net/socket_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace weft {

namespace {
class Lock {
 public:
  explicit Lock(int directory) : directory_(directory) {
    int result;
    do result = flock(directory_, LOCK_EX);
    while (result != 0 && errno == EINTR);
    is_held_ = result == 0;
  }
  ~Lock() { flock(directory_, LOCK_UN); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  bool is_held() const { return is_held_; }

 private:
  const int directory_;
  bool is_held_;
};
}  // namespace

Fd SocketFile::Listen(const std::string& path, SocketFile* file, std::string* why) {
  const auto fail = [&](const char* what) {
    *why = path + ": " + what + ": " + strerror(errno);
    return Fd();
  };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  errno = ENAMETOOLONG;
  if (path.size() >= sizeof(address.sun_path)) return fail("path");
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const auto* const name = reinterpret_cast<const sockaddr*>(&address);

  const size_t slash = path.rfind('/');
  file->name_ = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  file->directory_ = Fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file->directory() < 0) return fail("directory");
  const Lock lock(file->directory());
  if (!lock.is_held()) return fail("lock of its directory");

  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return fail("socket");
  struct stat found{};
  if (lstat(path.c_str(), &found) == 0) {
    errno = EEXIST;
    if (!S_ISSOCK(found.st_mode)) return fail("not a socket");
    const Fd probe(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe.valid()) return fail("socket");
    const bool is_refused = connect(probe.get(), name, sizeof(address)) != 0 && errno == ECONNREFUSED;
    errno = EADDRINUSE;
    if (!is_refused) return fail("another carrier of this name runs");
    if (unlink(path.c_str()) != 0) return fail("unlink");
  }
  // The mode has to be right from the first moment.
  const mode_t former = umask(0177);
  const int bound = bind(socket.get(), name, sizeof(address));
  const int error = errno;
  umask(former);
  errno = error;
  if (bound != 0) return fail("bind");
  if (listen(socket.get(), 8) != 0) return fail("listen");
  if (lstat(path.c_str(), &found) != 0) return fail("stat");
  file->inode_ = found.st_ino;
  file->changed_ = found.st_ctim;
  return socket;
}

void SocketFile::Remove() const {
  if (directory() < 0) return;
  const Lock lock(directory());
  struct stat found{};
  if (fstatat(directory(), name_.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (found.st_ino != inode_ || found.st_ctim.tv_sec != changed_.tv_sec || found.st_ctim.tv_nsec != changed_.tv_nsec) return;
  unlinkat(directory(), name_.c_str(), 0);
}

}  // namespace weft
