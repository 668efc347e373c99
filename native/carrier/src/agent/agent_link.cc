// SPDX-License-Identifier: Apache-2.0
#include "agent/agent_link.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace weft {

uint64_t AgentLink::Open(int socket) {
  std::lock_guard lock(mutex_);
  socket_ = socket;
  was_full_ = false;
  return ++session_;
}

void AgentLink::Close() {
  std::lock_guard lock(mutex_);
  socket_ = -1;
}

AgentLink::Sent AgentLink::Send(uint64_t session, std::string_view packet) {
  std::lock_guard lock(mutex_);
  if (socket_ < 0 || session != session_) return Sent::kGone;
  ssize_t count;
  do count = send(socket_, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  while (count < 0 && errno == EINTR);
  if (count >= 0) return Sent::kYes;
  // ENOBUFS, ENOMEM: the kernel has no memory now.
  if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
    was_full_ = true;
    return Sent::kFull;
  }
  // The control thread reads the end of this socket too, and ends the session.
  return Sent::kGone;
}

bool AgentLink::TakeWasFull() {
  std::lock_guard lock(mutex_);
  return std::exchange(was_full_, false);
}

}  // namespace weft
