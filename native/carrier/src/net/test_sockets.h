// SPDX-License-Identifier: Apache-2.0
// Connections on loopback for unit tests. The application's ends are blocking sockets with a time limit.
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <functional>
#include <string>

#include "base/address.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/reset_on_close.h"

namespace weft {

inline Fd ListenOnLoopback(Address* address, int backlog = 128) {
  Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage any;
  const socklen_t length = ToSockaddr(*ParseAddress("127.0.0.1:1"), &any, true);
  reinterpret_cast<sockaddr_in*>(&any)->sin_port = 0;
  REQUIRE(bind(listener.get(), reinterpret_cast<sockaddr*>(&any), length) == 0);
  REQUIRE(listen(listener.get(), backlog) == 0);
  socklen_t size = sizeof(any);
  REQUIRE(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&any), &size) == 0);
  *address = FromSockaddr(any);
  return listener;
}

inline void LimitTime(int socket, int seconds = 5 * WEFT_SLOWDOWN) {
  const timeval limit = {seconds, 0};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

inline Fd ConnectTo(const Address& to) {
  Fd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address;
  const socklen_t length = ToSockaddr(to, &address, true);
  REQUIRE(connect(client.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  LimitTime(client.get());
  return client;
}

// `ours` is as accept4 of a carrier's listener returns it.
struct Connection {
  Connection() {
    Address address;
    Fd listener = ListenOnLoopback(&address);
    REQUIRE(SetResetOnClose(listener.get(), true));
    app = ConnectTo(address);
    ours = Fd(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    REQUIRE(ours.valid());
  }
  Fd app, ours;
};

inline bool SendAll(const Fd& socket, const std::string& text) {
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t count = send(socket.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return false;
    sent += static_cast<size_t>(count);
  }
  return true;
}

// What arrives up to the end, followed by "<end>", "<reset>" or "<timeout>".
inline std::string ReceiveAll(const Fd& socket) {
  std::string all;
  char bytes[65536];
  for (;;) {
    const ssize_t count = recv(socket.get(), bytes, sizeof(bytes), 0);
    if (count > 0) {
      all.append(bytes, static_cast<size_t>(count));
      continue;
    }
    return all + (count == 0 ? "<end>" : errno == ECONNRESET ? "<reset>" : "<timeout>");
  }
}

// What has arrived, without waiting.
inline std::string ReceiveNow(const Fd& socket) {
  std::string all;
  char bytes[65536];
  for (;;) {
    const ssize_t count = recv(socket.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count > 0) {
      all.append(bytes, static_cast<size_t>(count));
      continue;
    }
    return all + (count == 0 ? "<end>" : errno == EAGAIN ? "" : "<reset>");
  }
}

inline void ResetNow(Fd* socket) {
  REQUIRE(SetResetOnClose(socket->get(), true));
  socket->Close();
}

// Turns of the loop until `done`, at most `limit_ms`, more with sanitizers.
inline bool RunUntil(Loop* loop, const std::function<bool()>& done, uint64_t limit_ms = 5000) {
  bool is_over = false;
  Loop::TimerId timer = loop->After(limit_ms * WEFT_SLOWDOWN, [&] { is_over = true; });
  bool is_done;
  while (!(is_done = done()) && !is_over) loop->RunOnce(1);
  loop->Cancel(&timer);
  return is_done;
}

inline void RunFor(Loop* loop, uint64_t ms) {
  bool is_over = false;
  loop->After(ms, [&] { is_over = true; });
  while (!is_over) loop->RunOnce(-1);
}

}  // namespace weft
