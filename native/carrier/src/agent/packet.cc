// SPDX-License-Identifier: Apache-2.0
#include "agent/packet.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "agent/wire.h"

namespace weft {

Received ReceivePacket(int socket, std::string* buffer, std::vector<Fd>* descriptors) {
  descriptors->clear();
  buffer->resize(kPacketBytesMax);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kDescriptorsMax)];
  iovec part{buffer->data(), buffer->size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t count;
  do count = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (count < 0 && errno == EINTR);
  if (count < 0) return errno == EAGAIN ? Received::kNothing : Received::kEnd;
  // Descriptors that were received are owned before anything can fail.
  bool is_bad = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
      is_bad = true;
      continue;
    }
    for (size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
      descriptors->emplace_back(fd);
    }
  }
  if (is_bad) {
    descriptors->clear();
    return Received::kBad;
  }
  if (count == 0) {
    descriptors->clear();
    return Received::kEnd;
  }
  buffer->resize(static_cast<size_t>(count));
  return Received::kPacket;
}

}  // namespace weft
