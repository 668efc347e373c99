// SPDX-License-Identifier: Apache-2.0
#include "net/broker_sandbox.h"

#include <linux/capability.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/sanitized.h"

namespace weft {

namespace {

bool Fail(const char* what, int error, std::string* why) {
  *why = std::string(what) + ": " + strerror(error);
  return false;
}

bool KeepSysAdminAlone(std::string* why) {
  // Without CAP_SETPCAP the bounding set stays, which matters only across execve(), and no_new_privs and the filter refuse that.
  for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
    if (capability != CAP_SYS_ADMIN) prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return Fail("capget", errno, why);
  // Of a process without privileges, nothing is left: its sockets are those of its own namespace.
  const uint32_t kept = data[0].permitted & (1u << CAP_SYS_ADMIN);
  data[0] = {kept, kept, 0};
  data[1] = {0, 0, 0};
  if (syscall(SYS_capset, &header, data) != 0) return Fail("capset", errno, why);
  return true;
}

bool FilterCalls([[maybe_unused]] int directory, [[maybe_unused]] std::string* why) {
#ifdef WEFT_SANITIZED
  return true;
#else
  const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
  if (!filter) return Fail("seccomp_init", ENOMEM, why);
  int error = 0;
  for (const int call :
       {SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(setsockopt), SCMP_SYS(getsockopt), SCMP_SYS(close),
        SCMP_SYS(fstatfs), SCMP_SYS(ioctl), SCMP_SYS(write), SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap),
        SCMP_SYS(madvise), SCMP_SYS(mprotect), SCMP_SYS(futex), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigreturn),
        SCMP_SYS(restart_syscall), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(tgkill), SCMP_SYS(exit), SCMP_SYS(exit_group)})
    if (error == 0) error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
  for (const int family : {AF_INET, AF_INET6})
    if (error == 0)
      error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family)),
                               SCMP_A1(SCMP_CMP_EQ, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (error == 0)
    error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setns), 1, SCMP_A1(SCMP_CMP_EQ, 0x40000000 /* CLONE_NEWNET */));
  // Of the socket's file (SocketFile::Remove).
  if (directory >= 0)
    for (const int call : {SCMP_SYS(flock), SCMP_SYS(newfstatat), SCMP_SYS(unlinkat)})
      if (error == 0)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(directory)));
  if (error == 0) error = seccomp_load(filter);
  seccomp_release(filter);
  return error == 0 || Fail("seccomp", -error, why);
#endif
}

}  // namespace

bool EnterBrokerSandbox(int directory, std::string* why) {
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  if (!KeepSysAdminAlone(why)) return false;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Fail("no_new_privs", errno, why);
  return FilterCalls(directory, why);
}

}  // namespace weft
