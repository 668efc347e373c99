// SPDX-License-Identifier: Apache-2.0
// For tests: a connection of which the test has both ends.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <utility>

#include "base/fd.h"

namespace weft {

// Two ends of one TCP connection over loopback, non-blocking.
inline std::pair<Fd, Fd> TcpPair() {
  Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof(address);
  bind(listener.get(), reinterpret_cast<sockaddr*>(&address), bytes);
  listen(listener.get(), 1);
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
  Fd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  connect(client.get(), reinterpret_cast<sockaddr*>(&address), bytes);
  Fd server(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  fcntl(client.get(), F_SETFL, fcntl(client.get(), F_GETFL) | O_NONBLOCK);
  return {std::move(client), std::move(server)};
}

}  // namespace weft
