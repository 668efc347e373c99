// SPDX-License-Identifier: Apache-2.0
// Whether the kernel resets a TCP connection when its descriptor is closed, also at the end of the process, or ends it in order (SO_LINGER
// of socket(7)). Sockets that a listener accepts inherit it.
#pragma once

#include <sys/socket.h>

namespace weft {

// False: errno is set.
inline bool SetResetOnClose(int socket, bool on) {
  const linger value = {on ? 1 : 0, 0};
  return setsockopt(socket, SOL_SOCKET, SO_LINGER, &value, sizeof(value)) == 0;
}

}  // namespace weft
