// SPDX-License-Identifier: Apache-2.0
// The carrier: relays the bytes of enrolled pods by the rules of the agent (docs/carrier.md).
#include <getopt.h>
#include <google/protobuf/stubs/logging.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "control/control.h"
#include "control/node_traffic.h"
#include "control/ready_file.h"
#include "control/sandbox.h"
#include "control/worker_thread.h"
#include "net/broker.h"
#include "net/descriptor_shares.h"
#include "net/sock_map.h"
#include "tls/credentials.h"

namespace weft {
namespace {

constexpr char kUsage[] =
    "Usage: weft-carrier --dir DIR --name NAME [--threads N] [--drain-ms MS] [--ready FILE]\n"
    "\n"
    "Relays the bytes of enrolled pods. The node's agent connects to the socket DIR/NAME.sock and decides.\n"
    "\n"
    "  --dir DIR      directory of the socket; it is created with mode 0700 if it is missing\n"
    "  --name NAME    name of this carrier: letters, digits, '.', '_' and '-'\n"
    "  --threads N    threads that relay (default: half of the cores, at least 1; at most 64)\n"
    "  --drain-ms MS  how long connections may go on after SIGTERM or SIGINT (default 0). New ones are served until an agent\n"
    "                 has a newer carrier, or no agent is left\n"
    "  --ready FILE   written each second while an agent uses this carrier\n"
    "  --version      prints the build and the version of the messages\n";

constexpr uint64_t kThreadsMax = 64;

struct Options {
  std::string dir, name, ready;
  uint64_t threads = 0;
  uint64_t drain_ms = 0;
};

bool ParseNumber(const char* text, uint64_t max, uint64_t* to) {
  const char* const end = text + strlen(text);
  const auto [last, error] = std::from_chars(text, end, *to);
  return error == std::errc() && last == end && last != text && *to <= max;
}

uint64_t DefaultThreads() {
  cpu_set_t cores;
  const int count = sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
  return std::clamp<uint64_t>(static_cast<uint64_t>(count) / 2, 1, kThreadsMax);
}

// An exit status, or -1: go on.
int ParseOptions(int argc, char** argv, Options* options) {
  constexpr option kOptions[] = {
      {"dir", required_argument, nullptr, 'd'},      {"name", required_argument, nullptr, 'n'},
      {"threads", required_argument, nullptr, 't'},  {"drain-ms", required_argument, nullptr, 'r'},
      {"ready", required_argument, nullptr, 'y'},    {"version", no_argument, nullptr, 'v'},
      {"help", no_argument, nullptr, 'h'},           {nullptr, 0, nullptr, 0},
  };
  const auto fail = [](const char* text) {
    fprintf(stderr, "weft-carrier: %s\n\n%s", text, kUsage);
    return 2;
  };
  for (int option; (option = getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
    switch (option) {
      case 'd':
        options->dir = optarg;
        break;
      case 'n':
        options->name = optarg;
        break;
      case 't':
        if (!ParseNumber(optarg, kThreadsMax, &options->threads) || options->threads == 0) return fail("--threads must be 1 to 64");
        break;
      case 'r':
        if (!ParseNumber(optarg, 1ull << 40, &options->drain_ms)) return fail("--drain-ms must be a number of milliseconds");
        break;
      case 'y':
        options->ready = optarg;
        break;
      case 'v':
        printf("weft-carrier %s, messages %u\n", WEFT_BUILD, Control::kVersion);
        return 0;
      case 'h':
        fputs(kUsage, stdout);
        return 0;
      default:
        return fail("an option is not known");
    }
  }
  if (optind < argc) return fail("an argument that is not an option");
  if (options->dir.empty() || options->name.empty()) return fail("--dir and --name are required");
  const std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (options->name.find_first_not_of(allowed) != std::string::npos || options->name[0] == '.') return fail("--name is not valid");
  if (options->threads == 0) options->threads = DefaultThreads();
  return -1;
}

void SetProcessLimits() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  // A core file would hold keys.
  const rlimit none{};
  setrlimit(RLIMIT_CORE, &none);
}

// SIGTERM and SIGINT let connections go on (Control::Retire); a second one ends at once.
class Signals : public Pollable {
 public:
  Signals(Fd fd, std::function<void(bool is_first)> call) : fd_(std::move(fd)), call_(std::move(call)) {}
  int fd() const { return fd_.get(); }
  void OnReady(uint32_t) override {
    signalfd_siginfo info;
    while (read(fd_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) call_(std::exchange(is_first_, false));
  }

 private:
  const Fd fd_;
  const std::function<void(bool is_first)> call_;
  bool is_first_ = true;
};

int Fail(const std::string& why) {
  Log(Level::kError, why);
  return 1;
}

int Run(const Options& options) {
  signal(SIGPIPE, SIG_IGN);
  SetProcessLimits();
  google::protobuf::SetLogHandler(nullptr);
  // Few threads: an arena for each would be memory that is never used.
  mallopt(M_ARENA_MAX, static_cast<int>(options.threads) + 1);

  std::string why;
  if (mkdir(options.dir.c_str(), 0700) != 0 && errno != EEXIST) return Fail(options.dir + ": " + strerror(errno));
  SocketFile file;
  Fd listener = SocketFile::Listen(options.dir + "/" + options.name + ".sock", &file, &why);
  if (!listener.valid()) return Fail(why);
  const std::unique_ptr<BrokerProcess> broker = BrokerProcess::Start(options.threads, &why, std::move(file));
  if (!broker) return Fail("the broker of sockets did not start: " + why);
  // Reads its configuration and seeds, which needs files.
  OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CRYPTO_STRINGS | OPENSSL_INIT_ADD_ALL_CIPHERS | OPENSSL_INIT_ADD_ALL_DIGESTS, nullptr);
  unsigned char seed[32];
  if (RAND_bytes(seed, sizeof(seed)) != 1) return Fail("OpenSSL has no random numbers");

  ReadyFile ready;
  if (!options.ready.empty() && !ready.Open(options.ready, &why)) return Fail(why);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  Fd signal_fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signal_fd.valid()) return Fail(std::string("signalfd: ") + strerror(errno));
  if (!DropCapabilities(0, &why)) return Fail("capabilities: " + why);

  Loop loop;
  int status = 0;
  AgentLink link;
  Lease lease;
  SockMap sock_map;
  Credentials credentials;
  const Limits limits;
  DescriptorShares::OfProcess().UseLimitOfProcess();
  const auto on_broker_death = [&] {
    loop.Post([&] {
      Log(Level::kError, "the broker of sockets ended: this carrier ends too");
      status = 1;
      loop.Stop();
    });
  };
  std::vector<std::unique_ptr<WorkerThread>> workers;
  for (uint32_t i = 0; i < options.threads; i++)
    workers.push_back(std::make_unique<WorkerThread>(i, &link, &lease, [&, i](Loop& worker_loop, Decider& decider) {
      return std::make_unique<NodeTraffic>(worker_loop, decider, sock_map, credentials, limits, broker->TakeChannel(i), on_broker_death);
    }));
  Control::Parts parts{&loop, &link, &lease, &sock_map, &credentials, {}};
  for (const auto& worker : workers) parts.workers.push_back(worker.get());
  Control control(std::move(parts), std::move(listener), WEFT_BUILD, [&] { loop.Stop(); });
  Signals on_signal(std::move(signal_fd), [&](bool is_first) {
    if (is_first) return control.Retire(options.drain_ms);
    loop.Stop();
  });
  if (!control.Start() || !loop.Add(on_signal.fd(), &on_signal, EPOLLIN)) return Fail(std::string("epoll: ") + strerror(errno));

  const std::function<void()> mark = [&] {
    if (control.is_in_use()) ready.Touch();
    loop.After(1000, mark);
  };
  if (!options.ready.empty()) mark();

  for (const auto& worker : workers) worker->Start();
  if (!FilterSystemCalls(&why)) return Fail(why);
  Log(Level::kInfo, std::string("carrier ") + WEFT_BUILD + " listens on " + options.dir + "/" + options.name + ".sock with " +
                        std::to_string(options.threads) + (options.threads == 1 ? " thread" : " threads"));
  loop.Run();
  Log(Level::kInfo, "the carrier ends");
  return status;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  weft::Options options;
  const int status = weft::ParseOptions(argc, argv, &options);
  return status >= 0 ? status : weft::Run(options);
}
