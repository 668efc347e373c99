// SPDX-License-Identifier: Apache-2.0
#include "control/agent_connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "agent/known_fields.h"
#include "agent/packet.h"

namespace weft {

namespace {
constexpr int kBufferBytes = 1 << 20;
}

AgentConnection::AgentConnection(Loop* loop, Fd socket, User* user, uint64_t number)
    : loop_(loop), socket_(std::move(socket)), user_(user), number_(number) {
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

void AgentConnection::ReadOut() {
  std::string why;
  while (!is_stopped_ && ReceivePacket(socket_.get(), &buffer_, &descriptors_) == Received::kPacket)
    if (!Process(&why)) return;
}

bool AgentConnection::Process(std::string* why) {
  carrier::v1::ToCarrier packet;
  if (!packet.ParseFromArray(buffer_.data(), static_cast<int>(buffer_.size()))) {
    *why = "a packet is malformed";
    return false;
  }
  if (HasUnknownFields(packet)) {
    *why = "a packet has a field that this carrier does not know";
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

}  // namespace weft
