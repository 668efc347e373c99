// SPDX-License-Identifier: Apache-2.0
// Lists and ends TCP sockets in a pod's network namespace through sock_diag(7).
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "addon.h"
#include "netns.h"

namespace weft {

namespace {

struct DestroyRequest {
  nlmsghdr header;
  inet_diag_req_v2 body;
};

bool FillEnd(const Napi::Value& ip, const Napi::Value& port, int family, __be32* address, __be16* out) {
  *out = htons(static_cast<uint16_t>(port.As<Napi::Number>().Uint32Value()));
  return inet_pton(family, ip.As<Napi::String>().Utf8Value().c_str(), address) == 1;
}

// The errno in the kernel's response; 0: success.
int Ask(int fd, const DestroyRequest& request) {
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  if (sendto(fd, &request, sizeof(request), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof(kernel)) < 0)
    return errno;
  alignas(nlmsghdr) char buffer[4096];
  ssize_t length = recv(fd, buffer, sizeof(buffer), 0);
  if (length < 0) return errno;
  auto* answer = reinterpret_cast<nlmsghdr*>(buffer);
  if (!NLMSG_OK(answer, static_cast<size_t>(length)) || answer->nlmsg_type != NLMSG_ERROR) return EPROTO;
  return -static_cast<nlmsgerr*>(NLMSG_DATA(answer))->error;
}

struct ListRequest {
  nlmsghdr header;
  inet_diag_req_v2 body;
};

struct Row {
  int family;
  inet_diag_sockid id;
  uint32_t inode;
};

constexpr uint32_t kLiveStates = 1u << 1 | 1u << 4 | 1u << 5 | 1u << 8;  // ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT

// Appends sockets until `rows` has `max`; returns the errno of the failure, 0: success.
int List(int fd, int family, size_t max, std::vector<Row>* rows) {
  ListRequest request = {};
  request.header = {sizeof(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0};
  request.body.sdiag_family = static_cast<__u8>(family);
  request.body.sdiag_protocol = IPPROTO_TCP;
  request.body.idiag_states = kLiveStates;
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  if (sendto(fd, &request, sizeof(request), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof(kernel)) < 0)
    return errno;
  alignas(nlmsghdr) char buffer[32768];
  for (;;) {
    ssize_t length = recv(fd, buffer, sizeof(buffer), 0);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return errno;
    int left = static_cast<int>(length);
    for (auto* part = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(part, left); part = NLMSG_NEXT(part, left)) {
      if (part->nlmsg_type == NLMSG_DONE) return 0;
      if (part->nlmsg_type == NLMSG_ERROR) return -static_cast<nlmsgerr*>(NLMSG_DATA(part))->error;
      if (part->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg)) || rows->size() >= max) continue;
      auto* found = static_cast<inet_diag_msg*>(NLMSG_DATA(part));
      rows->push_back({found->idiag_family, found->id, found->idiag_inode});
    }
  }
}

std::string Text(int family, const __be32* address) {
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(family, address, text, sizeof(text)) ? text : "";
}

// tcpConnections(netns, max): [localIp, localPort, remoteIp, remotePort, inode, cookie: bigint][], of sockets in kLiveStates.
Napi::Value TcpConnections(const Napi::CallbackInfo& info) {
  std::string path = info[0].As<Napi::String>();
  size_t max = info[1].As<Napi::Number>().Uint32Value();
  std::vector<Row> rows;
  int number = 0;
  {
    NetnsScope scope(path);
    number = scope.number();
    for (int family : {AF_INET, AF_INET6}) {
      if (number) break;
      int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
      number = fd < 0 ? errno : List(fd, family, max, &rows);
      if (fd >= 0) close(fd);
    }
  }
  if (number) Throw(info.Env(), "list sockets in " + path, number);
  auto result = Napi::Array::New(info.Env(), rows.size());
  for (uint32_t i = 0; i < rows.size(); i++) {
    const Row& row = rows[i];
    auto one = Napi::Array::New(info.Env(), 6);
    one.Set(0u, Text(row.family, row.id.idiag_src));
    one.Set(1u, ntohs(row.id.idiag_sport));
    one.Set(2u, Text(row.family, row.id.idiag_dst));
    one.Set(3u, ntohs(row.id.idiag_dport));
    one.Set(4u, row.inode);
    one.Set(5u, Napi::BigInt::New(info.Env(), static_cast<uint64_t>(row.id.idiag_cookie[1]) << 32 |
                                                  row.id.idiag_cookie[0]));
    result.Set(i, one);
  }
  return result;
}

// destroyTcp(netns, [localIp, localPort, remoteIp, remotePort, cookie: bigint][]): the number of these sockets that existed.
Napi::Value DestroyTcp(const Napi::CallbackInfo& info) {
  std::string path = info[0].As<Napi::String>();
  auto list = info[1].As<Napi::Array>();
  std::vector<DestroyRequest> requests(list.Length());
  for (uint32_t i = 0; i < requests.size(); i++) {
    auto item = list.Get(i).As<Napi::Array>();
    Napi::Value ip = item.Get(0u);
    int family = ip.As<Napi::String>().Utf8Value().find(':') == std::string::npos ? AF_INET : AF_INET6;
    bool lossless = false;
    uint64_t cookie = item.Get(4u).As<Napi::BigInt>().Uint64Value(&lossless);
    DestroyRequest& request = requests[i];
    request.header = {sizeof(request), SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, 1, 0};
    request.body.sdiag_family = static_cast<__u8>(family);
    request.body.sdiag_protocol = IPPROTO_TCP;
    request.body.idiag_states = ~0u;
    request.body.id.idiag_cookie[0] = static_cast<__u32>(cookie);
    request.body.id.idiag_cookie[1] = static_cast<__u32>(cookie >> 32);
    if (!FillEnd(ip, item.Get(1u), family, request.body.id.idiag_src, &request.body.id.idiag_sport) ||
        !FillEnd(item.Get(2u), item.Get(3u), family, request.body.id.idiag_dst, &request.body.id.idiag_dport))
      Throw(info.Env(), "addresses of a socket", EINVAL);
  }
  int number = 0;
  uint32_t done = 0;
  {
    NetnsScope scope(path);
    number = scope.number();
    int fd = number ? -1 : socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (!number && fd < 0) number = errno;
    for (const DestroyRequest& request : requests) {
      if (number) break;
      number = Ask(fd, request);
      if (!number) done++;
      if (number == ENOENT) number = 0;
    }
    if (fd >= 0) close(fd);
  }
  if (number) Throw(info.Env(), "end sockets in " + path, number);
  return Napi::Number::New(info.Env(), done);
}

}  // namespace

void InitDiag(Napi::Env env, Napi::Object exports) {
  exports.Set("destroyTcp", Napi::Function::New(env, DestroyTcp));
  exports.Set("tcpConnections", Napi::Function::New(env, TcpConnections));
}

}  // namespace weft
