// SPDX-License-Identifier: Apache-2.0
#include "net/spare_descriptor.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/reset_on_close.h"

namespace weft {

SpareDescriptor& SpareDescriptor::OfThread() {
  static thread_local SpareDescriptor spare;
  return spare;
}

void SpareDescriptor::Keep() {
  // The log's, because nothing else may be opened by now.
  if (!fd_.valid()) fd_ = Fd(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
}

int SpareDescriptor::RefuseWaiting(int listener, int count_max) {
  fd_.Close();
  int refused = 0;
  while (refused < count_max) {
    const Fd accepted(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!accepted.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      break;
    }
    SetResetOnClose(accepted.get(), true);
    refused++;
  }
  Keep();
  return refused;
}

}  // namespace weft
