// SPDX-License-Identifier: Apache-2.0
#include "net/broker_client.h"

#include <cerrno>

#include "net/broker_messages.h"

namespace weft {

namespace {
constexpr int kPacketsMax = 8;
}

struct BrokerClient::Waiting {
  BrokerRequest request;
  Fd netns;
};

BrokerClient::BrokerClient(Loop* loop, Fd channel, std::function<void()> on_death)
    : loop_(loop), channel_(std::move(channel)), on_death_(std::move(on_death)) {
  if (!loop_->Add(channel_.get(), this)) Die();
}

BrokerClient::~BrokerClient() {
  loop_->CancelTurnEnd(this);
  if (channel_.valid()) loop_->Remove(channel_.get(), this);
}

void BrokerClient::AddPod(PodKey pod, Fd netns) { Send(BrokerCall::kAddPod, pod, 0, 0, std::move(netns)); }

void BrokerClient::RemovePod(PodKey pod) { Send(BrokerCall::kRemovePod, pod, 0, 0, Fd()); }

void BrokerClient::Make(PodKey pod, uint16_t v4, uint16_t v6) { Send(BrokerCall::kMake, pod, v4, v6, Fd()); }

void BrokerClient::Send(BrokerCall call, PodKey pod, uint16_t v4, uint16_t v6, Fd netns) {
  if (!channel_.valid()) return;
  waiting_.push_back({BrokerRequest{call, v4, v6, pod}, std::move(netns)});
  Flush();
}

void BrokerClient::Flush() {
  while (!waiting_.empty()) {
    const Waiting& first = waiting_.front();
    if (SendPacket(channel_.get(), first.request, &first.netns, first.netns.valid() ? 1 : 0) < 0) {
      if (errno == EINTR) continue;
      // EPOLLOUT follows. Descriptors in flight are limited by the process's limit; the broker takes them in a moment.
      if (errno == EAGAIN || errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM) return;
      return Die();
    }
    waiting_.pop_front();
  }
}

bool BrokerClient::Receive() {
  BrokerReply reply{};
  std::vector<Fd> fds;
  ssize_t count;
  do count = ReceivePacket(channel_.get(), &reply, &fds);
  while (count < 0 && errno == EINTR);
  if (count < 0 && errno == EAGAIN) return false;
  if (count != sizeof(reply)) {
    Die();
    return false;
  }
  if (reply.event == BrokerEvent::kSockets) {
    pending_error_ = reply.error;
    // Without room for its descriptors in this process's table the kernel drops the rest of a packet.
    if (fds.size() != static_cast<size_t>(reply.v4) + reply.v6 && pending_error_ == 0) pending_error_ = EMFILE;
    for (size_t i = 0; i < fds.size(); i++) (i < reply.v4 ? v4_ : v6_).push_back(std::move(fds[i]));
    return true;
  }
  std::vector<Fd> v4, v6;
  v4.swap(v4_);
  v6.swap(v6_);
  if (on_sockets_) on_sockets_(reply.pod, std::move(v4), std::move(v6), pending_error_);
  return channel_.valid();
}

void BrokerClient::OnReady(uint32_t) {
  if (!channel_.valid()) return;
  // A broker that keeps pace would hold the loop.
  int packets = 0;
  while (packets < kPacketsMax && Receive()) packets++;
  if (packets == kPacketsMax) loop_->NextTurn(this);
  if (channel_.valid()) Flush();
}

void BrokerClient::Die() {
  if (!channel_.valid()) return;
  loop_->Remove(channel_.get(), this);
  channel_.Close();
  waiting_.clear();
  if (on_death_) on_death_();
}

}  // namespace weft
