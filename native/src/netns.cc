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
#include <vector>

#include "addon.h"
#include "netns.h"

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

int MakeSocket(int family, int* number) {
  int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) *number = errno;
  return fd;
}

// Descriptors that one visit to a namespace makes.
struct Batch {
  std::vector<int> fds;
  int number = 0;
  void CloseAll() {
    for (int fd : fds) close(fd);
    fds.clear();
  }
};

// The visit fails with ESTALE if another namespace is at the path by now than the one that the caller means (0: any).
template <typename Make>
Batch MakeIn(const std::string& path, uint64_t cookie, Make make) {
  Batch batch;
  NetnsScope scope(path);
  batch.number = scope.number();
  if (batch.number) return batch;
  if (cookie) {
    uint64_t here = scope.Cookie(&batch.number);
    if (!batch.number && here != cookie) batch.number = ESTALE;
    if (batch.number) return batch;
  }
  make(&batch);
  return batch;
}

uint64_t ToCookie(const Napi::Value& value) {
  bool lossless = false;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

Napi::Array ToJs(Napi::Env env, const Batch& batch) {
  auto fds = Napi::Array::New(env, batch.fds.size());
  for (uint32_t i = 0; i < batch.fds.size(); i++) fds.Set(i, batch.fds[i]);
  return fds;
}

// sockets(netnsPath, family: 4 | 6, count, cookie): non-blocking TCP sockets, at least one. An empty path means the caller's own namespace.
Napi::Value Sockets(const Napi::CallbackInfo& info) {
  std::string path = info[0].As<Napi::String>();
  int family = info[1].As<Napi::Number>().Int32Value() == 6 ? AF_INET6 : AF_INET;
  uint32_t count = info[2].As<Napi::Number>().Uint32Value();
  Batch batch = MakeIn(path, ToCookie(info[3]), [family, count](Batch* made) {
    while (made->fds.size() < count) {
      int fd = MakeSocket(family, &made->number);
      if (fd < 0) return;
      made->fds.push_back(fd);
    }
  });
  if (batch.fds.empty()) Throw(info.Env(), "socket in " + path, batch.number);
  return ToJs(info.Env(), batch);
}

struct ListenAddress {
  std::string ip;
  uint16_t port;
};

int MakeListener(const ListenAddress& at, int backlog, int* number) {
  sockaddr_storage address;
  socklen_t length;
  if (!ParseAddress(at.ip, at.port, &address, &length)) {
    *number = EINVAL;
    return -1;
  }
  int fd = MakeSocket(address.ss_family, number);
  if (fd < 0) return -1;
  int one = 1, zero = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (address.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) || listen(fd, backlog)) {
    *number = errno;
    close(fd);
    return -1;
  }
  return fd;
}

// listeners(netnsPath, [ip, port][][], backlog, cookie): one listening socket for each list, at the first address of the list that is free;
// "::" is dual-stack. All or none.
Napi::Value Listeners(const Napi::CallbackInfo& info) {
  std::string path = info[0].As<Napi::String>();
  auto lists = info[1].As<Napi::Array>();
  std::vector<std::vector<ListenAddress>> wanted(lists.Length());
  for (uint32_t i = 0; i < wanted.size(); i++) {
    auto list = lists.Get(i).As<Napi::Array>();
    for (uint32_t j = 0; j < list.Length(); j++) {
      auto one = list.Get(j).As<Napi::Array>();
      wanted[i].push_back({one.Get(0u).As<Napi::String>(), static_cast<uint16_t>(one.Get(1u).As<Napi::Number>().Uint32Value())});
    }
  }
  int backlog = info[2].As<Napi::Number>().Int32Value();
  Batch batch = MakeIn(path, ToCookie(info[3]), [&wanted, backlog](Batch* made) {
    for (const auto& addresses : wanted) {
      int fd = -1;
      for (const ListenAddress& address : addresses) {
        fd = MakeListener(address, backlog, &made->number);
        if (fd >= 0) break;
      }
      if (fd < 0) return made->CloseAll();
      made->fds.push_back(fd);
    }
    made->number = 0;
  });
  if (batch.number) Throw(info.Env(), "listen in " + path, batch.number);
  return ToJs(info.Env(), batch);
}

// cookie(netnsPath): bigint
Napi::Value Cookie(const Napi::CallbackInfo& info) {
  std::string path = info[0].As<Napi::String>();
  uint64_t cookie = 0;
  int number = 0;
  CachedNetns* cached = path.empty() ? nullptr : NetnsThread::Of().Find(path, &number);
  if (cached) cookie = cached->cookie;
  if (!number && !cookie) {
    NetnsScope scope(cached);
    number = scope.number();
    if (!number) cookie = scope.Cookie(&number);
  }
  if (number) Throw(info.Env(), "cookie of " + path, number);
  return Napi::BigInt::New(info.Env(), cookie);
}

// sweepNetns(idleMs): closes the thread's cached descriptors of namespaces that were not used for so long; returns how many are left.
Napi::Value SweepNetns(const Napi::CallbackInfo& info) {
  auto idle_ms = static_cast<uint64_t>(info[0].As<Napi::Number>().Uint32Value());
  return Napi::Number::New(info.Env(), static_cast<double>(NetnsThread::Of().Sweep(idle_ms)));
}

// setnsCalls(): calls of setns() by this process.
Napi::Value SetnsCalls(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(setns_calls.load(std::memory_order_relaxed)));
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
  exports.Set("sockets", Napi::Function::New(env, Sockets));
  exports.Set("listeners", Napi::Function::New(env, Listeners));
  exports.Set("sweepNetns", Napi::Function::New(env, SweepNetns));
  exports.Set("setnsCalls", Napi::Function::New(env, SetnsCalls));
  exports.Set("cookie", Napi::Function::New(env, Cookie));
  exports.Set("openNetns", Napi::Function::New(env, Open));
  exports.Set("resetOnClose", Napi::Function::New(env, ResetOnClose));
  exports.Set("sendBuffer", Napi::Function::New(env, SendBuffer));
  exports.Set("closeFd", Napi::Function::New(env, CloseFd));
}

}  // namespace weft
