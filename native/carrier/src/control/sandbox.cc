// SPDX-License-Identifier: Apache-2.0
#include "control/sandbox.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/sanitized.h"

namespace weft {

#if !defined(WEFT_SANITIZED)
namespace {
// Arguments of 32 bits: the kernel ignores the rest of the register.
constexpr uint64_t kLow = 0xffffffff;
// Memory, time, signals, threads that run already, descriptors that are open already or handed over.
constexpr int kAllowed[] = {
    SCMP_SYS(read),          SCMP_SYS(write),           SCMP_SYS(readv),        SCMP_SYS(writev),       SCMP_SYS(close),
    SCMP_SYS(recvmsg),       SCMP_SYS(recvfrom),        SCMP_SYS(recvmmsg),     SCMP_SYS(sendmsg),      SCMP_SYS(sendto),
    SCMP_SYS(sendmmsg),      SCMP_SYS(epoll_wait),      SCMP_SYS(epoll_pwait),  SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_ctl),
    SCMP_SYS(accept),        SCMP_SYS(accept4),         SCMP_SYS(connect),      SCMP_SYS(shutdown),     SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),   SCMP_SYS(setsockopt),      SCMP_SYS(getsockopt),   SCMP_SYS(poll),         SCMP_SYS(ppoll),
    SCMP_SYS(fstat),         SCMP_SYS(newfstatat),      SCMP_SYS(fstatfs),      SCMP_SYS(munmap),       SCMP_SYS(mremap),
    SCMP_SYS(brk),           SCMP_SYS(madvise),         SCMP_SYS(futex),        SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),     SCMP_SYS(gettimeofday),    SCMP_SYS(time),         SCMP_SYS(getrandom),    SCMP_SYS(getpid),
    SCMP_SYS(gettid),        SCMP_SYS(geteuid),         SCMP_SYS(sched_yield),  SCMP_SYS(sched_getaffinity), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction),   SCMP_SYS(sigaltstack),  SCMP_SYS(tgkill),       SCMP_SYS(exit),
    SCMP_SYS(exit_group),    SCMP_SYS(restart_syscall), SCMP_SYS(rseq),         SCMP_SYS(membarrier),   SCMP_SYS(set_robust_list),
};
// Nobody calls these by mistake.
constexpr int kFatal[] = {
    SCMP_SYS(execve),          SCMP_SYS(execveat),         SCMP_SYS(fork),          SCMP_SYS(vfork),         SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv), SCMP_SYS(setns), SCMP_SYS(process_vm_writev), SCMP_SYS(mount),        SCMP_SYS(umount2),       SCMP_SYS(pivot_root),
    SCMP_SYS(unshare),         SCMP_SYS(init_module),      SCMP_SYS(finit_module),  SCMP_SYS(kexec_load),    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(pidfd_getfd),     SCMP_SYS(io_uring_setup),   SCMP_SYS(userfaultfd),   SCMP_SYS(perf_event_open), SCMP_SYS(keyctl),
};

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM))) {}
  ~Filter() { seccomp_release(context_); }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  void Allow(int call) { Keep(seccomp_rule_add(context_, SCMP_ACT_ALLOW, call, 0)); }
  void Kill(int call) { Keep(seccomp_rule_add(context_, SCMP_ACT_KILL_PROCESS, call, 0)); }
  // If this argument, under the mask, has this value.
  void AllowIf(int call, unsigned argument, uint64_t mask, uint64_t value) {
    const scmp_arg_cmp compare = {argument, SCMP_CMP_MASKED_EQ, mask, value};
    Keep(seccomp_rule_add_array(context_, SCMP_ACT_ALLOW, call, 1, &compare));
  }
  bool Load(std::string* why) {
    // All threads, or none.
    Keep(seccomp_attr_set(context_, SCMP_FLTATR_CTL_TSYNC, 1));
    Keep(seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    // As a tree: the filter's cost does not depend on the order of the rules.
    Keep(seccomp_attr_set(context_, SCMP_FLTATR_CTL_OPTIMIZE, 2));
    if (result_ == 0) result_ = seccomp_load(context_);
    if (result_ != 0) *why = std::string("seccomp: ") + strerror(-result_);
    return result_ == 0;
  }

 private:
  void Keep(int result) {
    if (result_ == 0) result_ = result;
  }
  const scmp_filter_ctx context_;
  int result_ = 0;
};
}  // namespace
#endif

bool DropCapabilities(uint64_t keep, std::string* why) {
  const auto fail = [&](const char* what) {
    *why = std::string(what) + ": " + strerror(errno);
    return false;
  };
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail("no_new_privs");
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail("dumpable");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return fail("ambient capabilities");
  // EINVAL: the kernel knows no further ones. EPERM: not privileged, so nothing can be gained by exec anyway.
  for (unsigned long capability = 0; capability < 64; capability++)
    if (!(keep >> capability & 1) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno == EINVAL) break;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (syscall(SYS_capget, &header, data) != 0) return fail("capget");
  for (int i = 0; i < 2; i++) {
    const auto kept = static_cast<uint32_t>(keep >> (32 * i)) & data[i].permitted;
    data[i] = {kept, kept, 0};
  }
  header = {_LINUX_CAPABILITY_VERSION_3, 0};
  if (syscall(SYS_capset, &header, data) != 0) return fail("capset");
  return true;
}

bool FilterSystemCalls([[maybe_unused]] std::string* why) {
#if defined(WEFT_SANITIZED)
  // Sanitizers read /proc and start programs.
  return true;
#else
  Filter filter;
  for (const int call : kAllowed) filter.Allow(call);
  // No memory becomes code.
  filter.AllowIf(SCMP_SYS(mmap), 2, PROT_EXEC, 0);
  filter.AllowIf(SCMP_SYS(mprotect), 2, PROT_EXEC, 0);
  for (const uint64_t command : {F_GETFL, F_SETFL, F_GETFD, F_SETFD, F_DUPFD_CLOEXEC})
    filter.AllowIf(SCMP_SYS(fcntl), 1, kLow, command);
  for (const uint64_t command : {static_cast<uint64_t>(SIOCOUTQ), static_cast<uint64_t>(SIOCINQ), static_cast<uint64_t>(NS_GET_NSTYPE)})
    filter.AllowIf(SCMP_SYS(ioctl), 1, kLow, command);
  // Of a map whose descriptor was handed over: no capability is needed for that. Neither programs nor maps are made.
  for (const uint64_t command : {BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_OBJ_GET_INFO_BY_FD})
    filter.AllowIf(SCMP_SYS(bpf), 0, kLow, command);
  // The time of a descriptor's file (ReadyFile); no path.
  filter.AllowIf(SCMP_SYS(utimensat), 1, ~0ull, 0);
  for (const int call : kFatal) filter.Kill(call);
  return filter.Load(why);
#endif
}

}  // namespace weft
