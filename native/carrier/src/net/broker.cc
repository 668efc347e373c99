// SPDX-License-Identifier: Apache-2.0
#include "net/broker.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <unordered_map>

#include "base/clock.h"
#include "base/netns.h"
#include "base/reset_on_close.h"
#include "net/broker_messages.h"
#include "net/broker_sandbox.h"

namespace weft {

namespace {

constexpr int kKeepAliveSeconds = 180;
constexpr uint64_t kEndMsMax = 500;

Fd MakeSocket(int family, int* error) {
  Fd fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  const int one = 1;
  if (!fd.valid() || setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
      setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)) != 0 ||
      setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE, &kKeepAliveSeconds, sizeof(kKeepAliveSeconds)) != 0 ||
      !SetResetOnClose(fd.get(), true)) {
    *error = errno;
    return Fd();
  }
  return fd;
}

class Broker {
 public:
  Broker(Fd home, std::vector<Fd> channels) : home_(std::move(home)) {
    for (Fd& channel : channels) channels_.push_back({std::move(channel), {}, {}});
  }

  // Until the last worker is gone. Each channel gets one request served in turn.
  void Run() {
    std::vector<pollfd> polls(channels_.size());
    for (;;) {
      size_t open = 0;
      for (size_t i = 0; i < channels_.size(); i++) {
        const Channel& channel = channels_[i];
        // A worker that does not read its replies gets no further ones.
        polls[i] = {channel.fd.get(), static_cast<short>(channel.replies.empty() ? POLLIN : POLLOUT), 0};
        if (channel.fd.valid()) open++;
      }
      if (open == 0) return;
      if (poll(polls.data(), polls.size(), -1) < 0 && errno != EINTR) return;
      for (size_t i = 0; i < channels_.size(); i++)
        if (channels_[i].fd.valid() && polls[i].revents != 0) Serve(&channels_[i]);
    }
  }

 private:
  struct Netns {
    Fd fd;
    bool is_checked = false;
  };
  struct Reply {
    BrokerReply reply;
    std::vector<Fd> fds;
  };
  struct Channel {
    Fd fd;
    std::unordered_map<uint64_t, Netns> pods;
    std::deque<Reply> replies;
  };

  void Serve(Channel* channel) {
    if (!channel->replies.empty()) return Flush(channel);
    BrokerRequest request{};
    std::vector<Fd> fds;
    const ssize_t count = ReceivePacket(channel->fd.get(), &request, &fds);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (count != sizeof(request)) return Close(channel);
    switch (request.call) {
      case BrokerCall::kAddPod:
        if (fds.size() == 1 && IsNetns(fds[0].get()))
          channel->pods[request.pod] = {std::move(fds[0])};
        else
          channel->pods.erase(request.pod);
        return;
      case BrokerCall::kRemovePod:
        channel->pods.erase(request.pod);
        return;
      case BrokerCall::kMake:
        Make(channel, request);
        return Flush(channel);
    }
    Close(channel);
  }

  void Make(Channel* channel, const BrokerRequest& request) {
    Reply reply{{BrokerEvent::kSockets, 0, 0, 0, request.pod}, {}};
    const auto found = channel->pods.find(request.pod);
    if (found == channel->pods.end()) {
      reply.reply.error = ESTALE;
    } else if (setns(found->second.fd.get(), CLONE_NEWNET) != 0) {
      reply.reply.error = errno;
    } else {
      const int v4 = std::min(request.v4, kBrokerSocketsMax);
      const int v6 = std::min<int>(request.v6, kBrokerSocketsMax - v4);
      for (int i = 0; i < v4 + v6 && reply.reply.error == 0; i++) {
        Fd socket = MakeSocket(i < v4 ? AF_INET : AF_INET6, &reply.reply.error);
        if (!socket.valid()) break;
        if (!found->second.is_checked) found->second.is_checked = IsOf(socket.get(), request.pod, &reply.reply.error);
        if (reply.reply.error != 0) break;
        (i < v4 ? reply.reply.v4 : reply.reply.v6)++;
        reply.fds.push_back(std::move(socket));
      }
      if (setns(home_.get(), CLONE_NEWNET) != 0) {
        // The next sockets could be of the wrong pod.
        fprintf(stderr, "weft-carrier: the broker cannot return to its own network namespace: %s\n", strerror(errno));
        abort();
      }
    }
    channel->replies.push_back(std::move(reply));
  }

  // The descriptor came with the pod's key; sockets of another namespace would speak as another pod.
  static bool IsOf(int socket, uint64_t pod, int* error) {
    *error = CheckNetns(socket, pod);
    return *error == 0;
  }

  void Flush(Channel* channel) {
    while (!channel->replies.empty()) {
      Reply& first = channel->replies.front();
      if (SendPacket(channel->fd.get(), first.reply, first.fds.data(), first.fds.size()) < 0) {
        if (errno == EAGAIN || errno == EINTR) return;
        if (first.fds.empty()) return Close(channel);
        // Too many descriptors in flight, or no memory.
        first.reply.error = errno;
        first.reply.v4 = first.reply.v6 = 0;
        first.fds.clear();
        continue;
      }
      const BrokerReply sent = first.reply;
      channel->replies.pop_front();
      if (sent.event == BrokerEvent::kSockets) channel->replies.push_front({{BrokerEvent::kClosed, 0, 0, 0, sent.pod}, {}});
    }
  }

  static void Close(Channel* channel) {
    channel->fd.Close();
    channel->pods.clear();
    channel->replies.clear();
  }

  Fd home_;
  std::vector<Channel> channels_;
};

[[noreturn]] void RunBroker(Fd home, std::vector<Fd> channels, const SocketFile& file) {
  prctl(PR_SET_NAME, "weft-broker");
  // Signals of the process group are for the carrier; the broker ends with its channels, also when the carrier is killed.
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2}) signal(number, SIG_IGN);
  std::vector<int> kept = {home.get()};
  if (file.directory() >= 0) kept.push_back(file.directory());
  for (const Fd& channel : channels) kept.push_back(channel.get());
  std::sort(kept.begin(), kept.end());
  unsigned from = 3;
  for (const int fd : kept) {
    if (static_cast<unsigned>(fd) > from) close_range(from, static_cast<unsigned>(fd) - 1, 0);
    from = static_cast<unsigned>(fd) + 1;
  }
  close_range(from, ~0u, 0);
  std::string why;
  if (!EnterBrokerSandbox(file.directory(), &why)) {
    fprintf(stderr, "weft-carrier: broker: %s\n", why.c_str());
    _exit(1);
  }
  Broker(std::move(home), std::move(channels)).Run();
  file.Remove();
  _exit(0);
}

}  // namespace

std::unique_ptr<BrokerProcess> BrokerProcess::Start(size_t workers, std::string* why, SocketFile file) {
  const auto fail = [why](const char* what) {
    *why = std::string(what) + ": " + strerror(errno);
    return nullptr;
  };
  Fd home(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home.valid()) return fail("/proc/self/ns/net");
  std::unique_ptr<BrokerProcess> process(new BrokerProcess());
  std::vector<Fd> theirs;
  for (size_t i = 0; i < workers; i++) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) return fail("socketpair");
    process->channels_.push_back(Fd(pair[0]));
    theirs.push_back(Fd(pair[1]));
  }
  fflush(nullptr);
  process->pid_ = fork();
  if (process->pid_ < 0) return fail("fork");
  if (process->pid_ == 0) {
    process->channels_.clear();
    RunBroker(std::move(home), std::move(theirs), file);
  }
  return process;
}

BrokerProcess::~BrokerProcess() {
  if (pid_ <= 0) return;
  channels_.clear();
  // It ends by itself once its channels are closed.
  for (uint64_t until_ms = BootMs() + kEndMsMax; BootMs() < until_ms; usleep(1000))
    if (waitpid(pid_, nullptr, WNOHANG) != 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

Fd BrokerProcess::TakeChannel(size_t worker) { return std::move(channels_[worker]); }

}  // namespace weft
