// SPDX-License-Identifier: Apache-2.0
// Network namespaces: whether a descriptor is one, and of which one a socket is, by the cookie that is the key of its pod.
#pragma once

#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstdint>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71  // asm-generic/socket.h, Linux 5.14
#endif

namespace weft {

inline bool IsNetns(int fd) {
  struct statfs about;
  // Another kind of file may take the ioctl for something else.
  return fstatfs(fd, &about) == 0 && about.f_type == NSFS_MAGIC && ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
}

// The cookie of the socket's namespace, which is never 0. 0: errno is set.
inline uint64_t NetnsCookie(int socket) {
  uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  return getsockopt(socket, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

// 0 if the socket is of that namespace, ESTALE if it is of another one, else the errno.
inline int CheckNetns(int socket, uint64_t cookie) {
  const uint64_t found = NetnsCookie(socket);
  if (found == 0) return errno != 0 ? errno : ESTALE;
  return found == cookie ? 0 : ESTALE;
}

}  // namespace weft
