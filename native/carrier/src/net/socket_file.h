// SPDX-License-Identifier: Apache-2.0
// The file of the socket that agents connect to. Whoever replaces or removes such a file holds a lock on its directory, so that nobody
// removes the socket of a carrier that has just begun to listen.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <string>

#include "base/fd.h"

namespace weft {

class SocketFile {
 public:
  SocketFile() = default;
  // A listening SOCK_SEQPACKET socket at this path with mode 0600. A socket that nobody listens on is replaced. Invalid, with a reason, if
  // another carrier listens there. `file`: gets the file.
  static Fd Listen(const std::string& path, SocketFile* file, std::string* why);
  // Removes the file, unless another carrier has replaced it.
  void Remove() const;
  int directory() const { return directory_.get(); }

 private:
  Fd directory_;
  std::string name_;
  // Inodes are used again: another file has another time.
  ino_t inode_ = 0;
  timespec changed_{};
};

}  // namespace weft
