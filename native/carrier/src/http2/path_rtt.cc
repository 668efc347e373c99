// SPDX-License-Identifier: Apache-2.0
#include "http2/path_rtt.h"

// glibc's tcp_info ends before tcpi_min_rtt.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

namespace weft {

uint64_t PathRttUs(int socket) {
  tcp_info info{};
  socklen_t bytes = sizeof(info);
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return 0;
  if (bytes < offsetof(tcp_info, tcpi_min_rtt) + sizeof(info.tcpi_min_rtt) || info.tcpi_min_rtt == ~0u) return 0;
  return info.tcpi_min_rtt;
}

}  // namespace weft
