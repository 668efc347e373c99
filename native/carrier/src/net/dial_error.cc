// SPDX-License-Identifier: Apache-2.0
#include "net/dial_error.h"

#include <cerrno>
#include <cstring>

namespace weft {

std::string ErrorName(int error) {
  const char* const name = strerrorname_np(error);
  return name ? name : std::to_string(error);
}

std::string DialError(const Address& to, int error, uint64_t timeout_ms) {
  const std::string ip = to.ip.Text(), port = std::to_string(to.port);
  if (error == ETIMEDOUT) return "no response from " + ip + " port " + port + " within " + std::to_string(timeout_ms) + " ms";
  return "cannot connect to " + ip + " port " + port + ": connect " + ErrorName(error) + " " + ip + ":" + port;
}

}  // namespace weft
