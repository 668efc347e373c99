// SPDX-License-Identifier: Apache-2.0
// A client of a Unix socket of type SOCK_SEQPACKET that passes packets and descriptors. Readiness comes from the event loop of the
// thread that connects.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "addon.h"

namespace weft {

namespace {

constexpr size_t kPacketBytesMax = 128 * 1024;
constexpr size_t kDescriptorsMax = 64;      // in one packet
constexpr int kPacketsPerReadinessMax = 64;  // so that a busy peer does not hold up the rest of the event loop
constexpr int kSendBufferBytes = 1 << 20;

// The receiver of a Unix socket has no buffer of its own: unread packets count for the sender.
bool RaiseSendBuffer(int fd) {
  int bytes = kSendBufferBytes;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
  socklen_t length = sizeof(bytes);
  if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &length) != 0) return false;
  if (bytes >= static_cast<int>(2 * kPacketBytesMax)) return true;
  errno = ENOBUFS;  // net.core.wmem_max is too low for one packet
  return false;
}

// Returns the descriptor, or -1 with errno set.
int Connect(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  // connect() of a Unix socket never waits: it fails with EAGAIN if the listener's backlog is full.
  if (!RaiseSendBuffer(fd) || connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    int number = errno;
    close(fd);
    errno = number;
    return -1;
  }
  return fd;
}

struct Packet {
  std::vector<uint8_t> bytes;
  std::vector<int> fds;
};

void CloseAll(const std::vector<int>& fds) {
  for (int fd : fds) close(fd);
}

class Channel : public Napi::ObjectWrap<Channel> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Channel",
                       {InstanceMethod("send", &Channel::Send), InstanceMethod("close", &Channel::CloseNow),
                        InstanceMethod("keepAlive", &Channel::KeepAlive), InstanceMethod("peerPid", &Channel::PeerPid)});
  }

  // new Channel(path, onPackets([bytes, fds][]), onWritable(), onEnd(why))
  explicit Channel(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<Channel>(info), buffer_(kPacketBytesMax), context_(info.Env(), "weft:channel") {
    Napi::Env env = info.Env();
    std::string path = info[0].As<Napi::String>();
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok) Throw(env, "event loop", ENOSYS);
    int fd = Connect(path);
    if (fd < 0) Throw(env, "connect to " + path, errno);
    poll_ = new uv_poll_t;
    poll_->data = this;
    int error = uv_poll_init(loop, poll_, fd);
    if (error != 0) {
      delete poll_;
      close(fd);
      Throw(env, "watch " + path, -error);
    }
    fd_ = fd;
    on_packets_ = Napi::Persistent(info[1].As<Napi::Function>());
    on_writable_ = Napi::Persistent(info[2].As<Napi::Function>());
    on_end_ = Napi::Persistent(info[3].As<Napi::Function>());
    napi_add_async_cleanup_hook(env, OnEnvironmentEnd, this, &cleanup_);
    uv_unref(reinterpret_cast<uv_handle_t*>(poll_));
    Watch();
    Ref();  // the event loop refers to this object until it is closed
  }

 private:
  void Watch() { uv_poll_start(poll_, UV_READABLE | (wants_writable_ ? UV_WRITABLE : 0), OnPoll); }

  // Idempotent. No callback follows.
  void End() {
    if (fd_ < 0) return;
    uv_poll_stop(poll_);
    close(fd_);
    fd_ = -1;
    // The event loop uses the handle's memory until it calls back.
    auto* closing = new Closing{cleanup_};
    poll_->data = closing;
    uv_close(reinterpret_cast<uv_handle_t*>(poll_), [](uv_handle_t* handle) {
      auto* done = static_cast<Closing*>(handle->data);
      napi_remove_async_cleanup_hook(done->cleanup);
      delete done;
      delete reinterpret_cast<uv_poll_t*>(handle);
    });
    poll_ = nullptr;
    Unref();
  }

  struct Closing {
    napi_async_cleanup_hook_handle cleanup;
  };

  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* self) { static_cast<Channel*>(self)->End(); }

  static void OnPoll(uv_poll_t* poll, int status, int events) {
    auto* self = static_cast<Channel*>(poll->data);
    Napi::Env env = self->Env();
    Napi::HandleScope scope(env);
    Napi::Object holder = self->Value();  // not collected while a callback closes it
    try {
      if (status < 0) {
        self->Fail(std::string("cannot watch the socket: ") + uv_strerror(status));
        return;
      }
      if (events & UV_WRITABLE) {
        self->wants_writable_ = false;
        self->Watch();
        self->on_writable_.MakeCallback(holder, {}, self->context_);
      }
      if ((events & ~UV_WRITABLE) && self->fd_ >= 0) self->Receive(env);
    } catch (const Napi::Error& error) {
      // A callback threw: the same as an exception in any other callback of the event loop.
      napi_fatal_exception(env, error.Value());
    }
  }

  void Fail(const std::string& why) {
    if (fd_ < 0) return;
    End();
    on_end_.MakeCallback(Value(), {Napi::String::New(Env(), why)}, context_);
  }

  void Receive(Napi::Env env) {
    std::vector<Packet> packets;
    std::string why;
    while (packets.size() < kPacketsPerReadinessMax && why.empty()) {
      Packet packet;
      int number = ReceiveOne(&packet, &why);
      if (number == EAGAIN) break;
      if (why.empty()) packets.push_back(std::move(packet));
    }
    if (!packets.empty()) on_packets_.MakeCallback(Value(), {ToJs(env, packets)}, context_);
    if (!why.empty()) Fail(why);
  }

  // EAGAIN: nothing to read. `why` is set at the end of the channel.
  int ReceiveOne(Packet* packet, std::string* why) {
    iovec part = {buffer_.data(), buffer_.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))];
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    ssize_t length;
    do length = recvmsg(fd_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == EINTR);
    if (length < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return EAGAIN;
    if (length < 0) {
      *why = std::string("cannot receive: ") + strerror(errno);
      return errno;
    }
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      size_t before = packet->fds.size();
      packet->fds.resize(before + count);
      memcpy(packet->fds.data() + before, CMSG_DATA(header), count * sizeof(int));
    }
    // A packet of no bytes cannot be told from the end, and no message of the protocol is empty.
    if (length == 0) *why = "the peer closed the connection";
    if (message.msg_flags & MSG_TRUNC) *why = "a packet is longer than " + std::to_string(kPacketBytesMax) + " bytes";
    // Too many for one packet, or this process cannot open more.
    if (message.msg_flags & MSG_CTRUNC) *why = "descriptors of a packet were lost";
    if (!why->empty()) {
      CloseAll(packet->fds);
      return 0;
    }
    packet->bytes.assign(buffer_.begin(), buffer_.begin() + length);
    return 0;
  }

  static Napi::Array ToJs(Napi::Env env, const std::vector<Packet>& packets) {
    auto list = Napi::Array::New(env, packets.size());
    for (uint32_t i = 0; i < packets.size(); i++) {
      const Packet& packet = packets[i];
      auto fds = Napi::Array::New(env, packet.fds.size());
      for (uint32_t j = 0; j < packet.fds.size(); j++) fds.Set(j, packet.fds[j]);
      auto one = Napi::Array::New(env, 2);
      one.Set(0u, Napi::Buffer<uint8_t>::Copy(env, packet.bytes.data(), packet.bytes.size()));
      one.Set(1u, fds);
      list.Set(i, one);
    }
    return list;
  }

  // send(bytes, fds): whether the packet was sent. False: the socket is full, and onWritable follows. The descriptors stay the caller's.
  Napi::Value Send(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    if (fd_ < 0) Throw(env, "send", EPIPE);
    auto bytes = info[0].As<Napi::Uint8Array>();
    auto list = info[1].As<Napi::Array>();
    size_t count = list.Length();
    if (count > kDescriptorsMax || bytes.ByteLength() > kPacketBytesMax) Throw(env, "send", EMSGSIZE);
    iovec part = {bytes.Data(), bytes.ByteLength()};
    alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))];
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (count > 0) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(count * sizeof(int));
      memset(control, 0, message.msg_controllen);
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(count * sizeof(int));
      for (uint32_t i = 0; i < count; i++) {
        int fd = list.Get(i).As<Napi::Number>().Int32Value();
        memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(fd));
      }
    }
    ssize_t sent;
    do sent = sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) return Napi::Boolean::New(env, true);
    if (errno != EAGAIN && errno != EWOULDBLOCK) Throw(env, "send", errno);
    wants_writable_ = true;
    Watch();
    return Napi::Boolean::New(env, false);
  }

  // keepAlive(on): whether the channel keeps the event loop alive.
  Napi::Value KeepAlive(const Napi::CallbackInfo& info) {
    if (poll_) {
      auto* handle = reinterpret_cast<uv_handle_t*>(poll_);
      info[0].As<Napi::Boolean>().Value() ? uv_ref(handle) : uv_unref(handle);
    }
    return info.Env().Undefined();
  }

  // peerPid(): the process that listens, in this process's PID namespace; 0 if it has none there.
  Napi::Value PeerPid(const Napi::CallbackInfo& info) {
    ucred peer = {};
    socklen_t length = sizeof(peer);
    if (getsockopt(fd_, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) Throw(info.Env(), "peer of a socket", errno);
    return Napi::Number::New(info.Env(), peer.pid);
  }

  Napi::Value CloseNow(const Napi::CallbackInfo& info) {
    End();
    return info.Env().Undefined();
  }

  int fd_ = -1;
  uv_poll_t* poll_ = nullptr;
  bool wants_writable_ = false;
  std::vector<uint8_t> buffer_;
  Napi::FunctionReference on_packets_, on_writable_, on_end_;
  Napi::AsyncContext context_;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

}  // namespace

void InitChannel(Napi::Env env, Napi::Object exports) { exports.Set("Channel", Channel::Define(env)); }

}  // namespace weft
