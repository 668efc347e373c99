// SPDX-License-Identifier: Apache-2.0
// File locks, and the process at the other end of a Unix socket. The kernel keeps both, so a killed process leaves no stale state.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "addon.h"

namespace weft {

namespace {

// lock(path): a descriptor that holds the file's lock (flock(2), exclusive) until it is closed or the process ends; -1 if another
// process holds the lock. Creates the file if needed.
Napi::Value Lock(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = info[0].As<Napi::String>();
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) Throw(env, "open " + path, errno);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    int number = errno;
    close(fd);
    if (number != EWOULDBLOCK) Throw(env, "lock " + path, number);
    fd = -1;
  }
  return Napi::Number::New(env, fd);
}

// peerPid(fd): the process ID at the other end of a Unix socket (SO_PEERCRED), in this process's PID namespace; 0 if it has none there.
Napi::Value PeerPid(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  ucred peer = {};
  socklen_t length = sizeof(peer);
  if (getsockopt(info[0].As<Napi::Number>().Int32Value(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
    Throw(env, "peer of a socket", errno);
  return Napi::Number::New(env, peer.pid);
}

}  // namespace

void InitLock(Napi::Env env, Napi::Object exports) {
  exports.Set("lock", Napi::Function::New(env, Lock));
  exports.Set("peerPid", Napi::Function::New(env, PeerPid));
}

}  // namespace weft
