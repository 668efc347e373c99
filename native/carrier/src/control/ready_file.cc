// SPDX-License-Identifier: Apache-2.0
#include "control/ready_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

namespace weft {

bool ReadyFile::Open(const std::string& path, std::string* why) {
  fd_ = Fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  const timespec old[2] = {};
  if (fd_.valid() && futimens(fd_.get(), old) == 0) return true;
  *why = path + ": " + strerror(errno);
  return false;
}

void ReadyFile::Touch() const { futimens(fd_.get(), nullptr); }

}  // namespace weft
