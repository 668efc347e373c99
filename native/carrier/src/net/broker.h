// SPDX-License-Identifier: Apache-2.0
// Sockets of pods' network namespaces are created by a process of its own, forked before the carrier drops its privileges: it alone keeps
// CAP_SYS_ADMIN, which setns() requires, and it reads no bytes from outside. Each worker has a channel of its own to it.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "net/socket_file.h"

namespace weft {

class BrokerProcess {
 public:
  // Forks; call it before there are threads. `workers`: how many channels. `file`: what the process removes at its end, since the carrier
  // opens no path in its sandbox. Null, with a reason: it could not start.
  static std::unique_ptr<BrokerProcess> Start(size_t workers, std::string* why, SocketFile file = {});
  // Ends the process. Its channels have to be closed.
  ~BrokerProcess();
  // The channel of a worker, once.
  Fd TakeChannel(size_t worker);
  pid_t pid() const { return pid_; }

 private:
  BrokerProcess() = default;
  pid_t pid_ = -1;
  std::vector<Fd> channels_;
};

}  // namespace weft
