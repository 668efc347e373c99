// SPDX-License-Identifier: Apache-2.0
// Who is alone at something, and who is at the other end of a Unix socket: both are the kernel's word, which no process that is killed
// can leave wrong behind.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "addon.h"

namespace weft {

namespace {

// lock(path): a descriptor that holds the file's lock until it is closed or the process ends; -1 where another holds it.
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

// peerPid(fd): the process at the other end of a Unix socket, by this process's numbers; 0 where it has none here.
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
