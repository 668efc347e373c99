// SPDX-License-Identifier: Apache-2.0
// Probes of kernel behavior that the version number does not reveal.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "addon.h"

namespace weft {

namespace {

constexpr size_t kBytes = 4096;

// A descriptor that is closed at the end of its scope.
struct Fd {
  int fd = -1;
  ~Fd() {
    if (fd >= 0) close(fd);
  }
};

// Opens both ends of a TCP connection over loopback; returns the errno of the failure, 0: success.
int Connect(Fd* client, Fd* server) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  Fd listener{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener.fd < 0 || client->fd < 0 || bind(listener.fd, any, length) || listen(listener.fd, 1) ||
      getsockname(listener.fd, any, &length) || connect(client->fd, any, length))
    return errno;
  server->fd = accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC);
  return server->fd < 0 ? errno : 0;
}

// chargesReader(path of probe.bpf.o): whether the kernel charges bytes that sk_msg redirects to the memory of the reading socket.
Napi::Value ChargesReader(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = info[0].As<Napi::String>();
  CaptureLibbpfLog();
  bpf_object* object = bpf_object__open_file(path.c_str(), nullptr);
  if (!object) Throw(env, "open " + path, errno, TakeLibbpfLog());
  int error = -bpf_object__load(object);
  bool charged = false;
  if (!error) {
    Fd client, server;
    int map = bpf_object__find_map_fd_by_name(object, "probe_ends");
    bpf_program* program = bpf_object__find_program_by_name(object, "weft_probe_msg");
    error = Connect(&client, &server);
    uint64_t ends[] = {static_cast<uint64_t>(client.fd), static_cast<uint64_t>(server.fd)};
    for (uint32_t i = 0; !error && i < 2; i++) {
      if (i == 0 && bpf_prog_attach(bpf_program__fd(program), map, BPF_SK_MSG_VERDICT, 0)) error = errno;
      if (!error && bpf_map_update_elem(map, &i, &ends[i], BPF_ANY)) error = errno;
    }
    char bytes[kBytes] = {};
    uint32_t memory[SK_MEMINFO_VARS] = {};
    socklen_t length = sizeof(memory);
    if (!error && (send(client.fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) != ssize_t(sizeof(bytes)) ||
                   getsockopt(server.fd, SOL_SOCKET, SO_MEMINFO, memory, &length)))
      error = errno ? errno : EIO;
    charged = memory[SK_MEMINFO_RMEM_ALLOC] >= kBytes;
  }
  std::string log = TakeLibbpfLog();
  bpf_object__close(object);
  if (error) Throw(env, "try a redirect between two sockets", error, log);
  return Napi::Boolean::New(env, charged);
}

}  // namespace

void InitProbe(Napi::Env env, Napi::Object exports) {
  exports.Set("chargesReader", Napi::Function::New(env, ChargesReader));
}

}  // namespace weft
