// SPDX-License-Identifier: Apache-2.0
// Packets between a worker and the broker. Both are one program, so the layout is that of the compiler.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "base/fd.h"

namespace weft {

// Of one request and its reply; a packet holds at most 253 descriptors (SCM_MAX_FD).
inline constexpr uint16_t kBrokerSocketsMax = 64;

enum class BrokerCall : uint32_t {
  kAddPod = 1,  // one descriptor: the network namespace
  kRemovePod = 2,
  kMake = 3,
};
struct BrokerRequest {
  BrokerCall call;
  uint16_t v4 = 0;
  uint16_t v6 = 0;
  uint64_t pod = 0;
};

enum class BrokerEvent : uint32_t {
  kSockets = 1,  // descriptors: those of IPv4, then those of IPv6
  kClosed = 2,   // the broker has closed its own descriptors of these sockets
};
struct BrokerReply {
  BrokerEvent event;
  int32_t error = 0;
  uint16_t v4 = 0;
  uint16_t v6 = 0;
  uint64_t pod = 0;
};

// -1 with errno set, as sendmsg().
template <typename Message>
ssize_t SendPacket(int channel, const Message& message, const Fd* fds, size_t count) {
  iovec part = {const_cast<Message*>(&message), sizeof(message)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kBrokerSocketsMax)];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (count > 0) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* const rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
    for (size_t i = 0; i < count; i++) {
      const int fd = fds[i].get();
      memcpy(CMSG_DATA(rights) + i * sizeof(int), &fd, sizeof(fd));
    }
  }
  return sendmsg(channel, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// Bytes of the packet, 0 at the end, -1 with errno set. Descriptors beyond the process's limit are missing in `fds`.
template <typename Message>
ssize_t ReceivePacket(int channel, Message* message, std::vector<Fd>* fds) {
  iovec part = {message, sizeof(*message)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kBrokerSocketsMax)];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  const ssize_t count = recvmsg(channel, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (count < 0) return count;
  for (cmsghdr* rights = CMSG_FIRSTHDR(&header); rights; rights = CMSG_NXTHDR(&header, rights)) {
    if (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) continue;
    const size_t received = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < received; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(rights) + i * sizeof(int), sizeof(fd));
      fds->push_back(Fd(fd));
    }
  }
  return count;
}

}  // namespace weft
