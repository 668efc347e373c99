// SPDX-License-Identifier: Apache-2.0
// Sockets in a pod's network namespace. setns() is per thread, so the calling thread enters the namespace and returns within one
// call. A thread that cannot return would serve other pods from the wrong network namespace: the process aborts.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "addon.h"
#include "netns.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace weft {

namespace {

bool ParseAddress(const std::string& ip, uint16_t port, sockaddr_storage* address, socklen_t* length) {
  memset(address, 0, sizeof(*address));
  auto* v4 = reinterpret_cast<sockaddr_in*>(address);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(address);
  if (inet_pton(AF_INET, ip.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    *length = sizeof(*v4);
    return true;
  }
  if (inet_pton(AF_INET6, ip.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    *length = sizeof(*v6);
    return true;
  }
  return false;
}

int Fail(int fd, int* number) {
  *number = errno;
  if (fd >= 0) close(fd);
  return -1;
}

// Runs `make` in the network namespace whose path is the first argument, and returns its descriptor. On failure `make` returns -1 and
// sets the errno.
template <typename Make>
Napi::Value DescriptorIn(const Napi::CallbackInfo& info, const std::string& operation, Make make) {
  std::string path = info[0].As<Napi::String>();
  int fd = -1, number = 0;
  {
    NetnsScope scope(path);
    number = scope.number();
    if (!number) fd = make(&number);
  }
  if (fd < 0) Throw(info.Env(), operation + " in " + path, number);
  return Napi::Number::New(info.Env(), fd);
}

// socket(netnsPath, family: 4 | 6): a non-blocking TCP socket; an empty path means the caller's own namespace.
Napi::Value Socket(const Napi::CallbackInfo& info) {
  int family = info[1].As<Napi::Number>().Int32Value() == 6 ? AF_INET6 : AF_INET;
  return DescriptorIn(info, "socket", [family](int* number) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    return fd < 0 ? Fail(fd, number) : fd;
  });
}

int MakeListener(const std::string& ip, uint16_t port, int backlog, int* number) {
  sockaddr_storage address;
  socklen_t length;
  if (!ParseAddress(ip, port, &address, &length)) {
    *number = EINVAL;
    return -1;
  }
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return Fail(fd, number);
  int one = 1, zero = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (address.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) || listen(fd, backlog)) return Fail(fd, number);
  return fd;
}

// listen(netnsPath, ip, port, backlog): a listening socket; "::" is dual-stack.
Napi::Value Listen(const Napi::CallbackInfo& info) {
  std::string ip = info[1].As<Napi::String>();
  auto port = static_cast<uint16_t>(info[2].As<Napi::Number>().Uint32Value());
  int backlog = info[3].As<Napi::Number>().Int32Value();
  return DescriptorIn(info, "listen",
                      [&](int* number) { return MakeListener(ip, port, backlog, number); });
}

// cookie(netnsPath): bigint
Napi::Value Cookie(const Napi::CallbackInfo& info) {
  std::string path = info[0].As<Napi::String>();
  uint64_t cookie = 0;
  int number = 0;
  {
    NetnsScope scope(path);
    number = scope.number();
    if (!number) {
      int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      socklen_t length = sizeof(cookie);
      if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length)) number = errno;
      if (fd >= 0) close(fd);
    }
  }
  if (number) Throw(info.Env(), "cookie of " + path, number);
  return Napi::BigInt::New(info.Env(), cookie);
}

// resetOnClose(fd, on): whether close() sends a reset, including the close by the kernel when the process dies.
Napi::Value ResetOnClose(const Napi::CallbackInfo& info) {
  linger value = {info[1].As<Napi::Boolean>().Value() ? 1 : 0, 0};
  if (setsockopt(info[0].As<Napi::Number>().Int32Value(), SOL_SOCKET, SO_LINGER, &value, sizeof(value)))
    Throw(info.Env(), "SO_LINGER", errno);
  return info.Env().Undefined();
}

// sendBuffer(fd, bytes): space for `bytes` unsent bytes; the kernel doubles the value for its own overhead.
Napi::Value SendBuffer(const Napi::CallbackInfo& info) {
  int bytes = info[1].As<Napi::Number>().Int32Value();
  if (setsockopt(info[0].As<Napi::Number>().Int32Value(), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
    Throw(info.Env(), "SO_SNDBUFFORCE", errno);
  return info.Env().Undefined();
}

// openNetns(path): a descriptor of the network namespace.
Napi::Value Open(const Napi::CallbackInfo& info) {
  std::string path = info[0].As<Napi::String>();
  int number = 0;
  int fd = OpenNetns(path, &number);
  if (fd < 0) Throw(info.Env(), "open " + path, number);
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value CloseFd(const Napi::CallbackInfo& info) {
  if (close(info[0].As<Napi::Number>().Int32Value()) && errno != EINTR) Throw(info.Env(), "close", errno);
  return info.Env().Undefined();
}

}  // namespace

void InitNetns(Napi::Env env, Napi::Object exports) {
  exports.Set("socket", Napi::Function::New(env, Socket));
  exports.Set("listen", Napi::Function::New(env, Listen));
  exports.Set("cookie", Napi::Function::New(env, Cookie));
  exports.Set("openNetns", Napi::Function::New(env, Open));
  exports.Set("resetOnClose", Napi::Function::New(env, ResetOnClose));
  exports.Set("sendBuffer", Napi::Function::New(env, SendBuffer));
  exports.Set("closeFd", Napi::Function::New(env, CloseFd));
}

}  // namespace weft
