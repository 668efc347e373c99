// SPDX-License-Identifier: Apache-2.0
#include "control/sandbox.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>

using namespace weft;

namespace {
// The exit status of a child in the sandbox, or 1000 + the signal that ended it.
int InSandbox(const std::function<int()>& call) {
  const pid_t child = fork();
  if (child == 0) {
    std::string why;
    if (!DropCapabilities(0, &why) || !FilterSystemCalls(&why)) _exit(99);
    _exit(call());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}
}  // namespace

TEST_CASE("no capability is left, and none can be gained") {
  CHECK(InSandbox([] {
          for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
            if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) > 0) return 1;
          __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
          __user_cap_data_struct data[2]{};
          if (syscall(SYS_capget, &header, data) == 0)
            for (const auto& part : data)
              if (part.effective || part.permitted || part.inheritable) return 2;
          return 0;
        }) == 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)

TEST_CASE("what the carrier never does fails") {
  const auto is_denied = [](const std::function<long()>& call) {
    return InSandbox([&] { return call() == -1 && errno == EPERM ? 7 : 1; }) == 7;
  };
  CHECK(is_denied([] { return open("/proc/self/status", O_RDONLY); }));
  CHECK(is_denied([] { return unlink("/tmp/weft-carrier-sandbox-test"); }));
  CHECK(is_denied([] { return socket(AF_INET, SOCK_STREAM, 0); }));
  CHECK(is_denied([] { return kill(getppid(), 0); }));
  CHECK(is_denied([] { return setuid(0); }));
  CHECK(is_denied([] { return fcntl(0, F_SETOWN, 1); }));
  CHECK(is_denied([] { return ioctl(0, TIOCSTI, "x"); }));
  // A new map; a program.
  CHECK(is_denied([] { return syscall(SYS_bpf, 0, nullptr, 0); }));
  CHECK(is_denied([] { return syscall(SYS_bpf, 5, nullptr, 0); }));
  CHECK(is_denied([] {
    return mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1L : 0L;
  }));
}

TEST_CASE("what only an intruder does ends the process") {
  constexpr int kKilled = 1000 + SIGSYS;
  CHECK(InSandbox([] { return execl("/bin/true", "true", nullptr); }) == kKilled);
  CHECK(InSandbox([] { return static_cast<int>(syscall(SYS_fork)); }) == kKilled);
  CHECK(InSandbox([] { return setns(0, CLONE_NEWNET); }) == kKilled);
  CHECK(InSandbox([] { return unshare(CLONE_NEWUSER); }) == kKilled);
  CHECK(InSandbox([] { return static_cast<int>(syscall(SYS_ptrace, 0, 0, 0, 0)); }) == kKilled);
  CHECK(InSandbox([] { return static_cast<int>(syscall(SYS_io_uring_setup, 1, nullptr)); }) == kKilled);
}

TEST_CASE("what the carrier does is allowed") {
  CHECK(InSandbox([] {
          void* const memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
          if (memory == MAP_FAILED || munmap(memory, 4096) != 0) return 1;
          // Allowed: the descriptor is not one of a map.
          if (syscall(SYS_bpf, 1, nullptr, 0) == -1 && errno == EPERM) return 2;
          if (fcntl(0, F_GETFL) < 0 && errno == EPERM) return 3;
          return 0;
        }) == 0);
}

TEST_CASE("threads that ran before are in the sandbox too") {
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<int> state = 0;
    std::thread thread([&] {
      while (state != 1) std::this_thread::yield();
      state = socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == EPERM ? 2 : 3;
    });
    std::string why;
    if (!DropCapabilities(0, &why) || !FilterSystemCalls(&why)) _exit(99);
    state = 1;
    thread.join();
    _exit(state);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 2);
}

#endif
