// SPDX-License-Identifier: Apache-2.0
#include "control/agent_connection.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "control/packet.h"

namespace weft {

namespace {
constexpr int kBufferBytes = 1 << 20;
uint64_t last_number = 0;
}

AgentConnection::AgentConnection(Loop* loop, Fd socket, User* user) : loop_(loop), socket_(std::move(socket)), user_(user), number_(++last_number) {
  // More than the default: what the kernel does not grant does not matter.
  setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &kBufferBytes, sizeof(kBufferBytes));
}

AgentConnection::~AgentConnection() { Stop(); }

bool AgentConnection::Start() {
  is_registered_ = loop_->Add(socket_.get(), this, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
  return is_registered_;
}

void AgentConnection::Stop() {
  is_stopped_ = true;
  if (std::exchange(is_registered_, false)) loop_->Remove(socket_.get(), this);
}

void AgentConnection::OnReady(uint32_t events) {
  if (events & EPOLLOUT) user_->OnWritable(this);
  if (!is_stopped_) Read();
}

void AgentConnection::Read() {
  std::string why;
  while (!is_stopped_) {
    switch (ReceivePacket(socket_.get(), &buffer_, &descriptors_)) {
      case Received::kNothing:
        return;
      case Received::kPacket:
        if (Process(&why)) continue;
        break;
      case Received::kEnd:
        why = "the agent closed it";
        break;
      case Received::kBad:
        why = "a packet is larger than 128 KiB, or has too many descriptors";
        break;
    }
    if (is_stopped_) return;
    Stop();
    user_->OnEnd(this, why);
  }
}

bool AgentConnection::Process(std::string* why) {
  carrier::v1::ToCarrier packet;
  if (!packet.ParseFromArray(buffer_.data(), static_cast<int>(buffer_.size()))) {
    *why = "a packet is malformed";
    return false;
  }
  if (!descriptors_.empty() && packet.messages_size() != 1) {
    *why = "descriptors belong to a packet of one message";
    return false;
  }
  for (const carrier::v1::AgentMessage& message : packet.messages()) {
    if (is_stopped_) return true;
    if (!user_->OnMessage(this, message, std::exchange(descriptors_, {}), why)) return false;
  }
  return true;
}

bool IsPeerTrusted(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || size != sizeof(peer)) return false;
  return peer.uid == 0 || peer.uid == geteuid();
}

Fd ListenForAgents(const std::string& path, std::string* why) {
  const auto fail = [&](const char* what) {
    *why = path + ": " + what + ": " + strerror(errno);
    return Fd();
  };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  errno = ENAMETOOLONG;
  if (path.size() >= sizeof(address.sun_path)) return fail("path");
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const auto* const name = reinterpret_cast<const sockaddr*>(&address);

  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return fail("socket");
  struct stat found{};
  if (lstat(path.c_str(), &found) == 0) {
    errno = EEXIST;
    if (!S_ISSOCK(found.st_mode)) return fail("not a socket");
    const Fd probe(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe.valid()) return fail("socket");
    const bool is_refused = connect(probe.get(), name, sizeof(address)) != 0 && errno == ECONNREFUSED;
    errno = EADDRINUSE;
    if (!is_refused) return fail("another carrier of this name runs");
    if (unlink(path.c_str()) != 0) return fail("unlink");
  }
  // The mode has to be right from the first moment.
  const mode_t former = umask(0177);
  const int bound = bind(socket.get(), name, sizeof(address));
  const int error = errno;
  umask(former);
  errno = error;
  if (bound != 0) return fail("bind");
  if (listen(socket.get(), 8) != 0) return fail("listen");
  return socket;
}

}  // namespace weft
