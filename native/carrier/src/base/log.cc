// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <unistd.h>

#include <cstdio>
#include <string>

#include "base/clock.h"

namespace weft {

void Log(Level level, std::string_view text) {
  std::string line = "{\"level\":" + std::to_string(static_cast<int>(level)) + ",\"time\":" + std::to_string(WallMs()) +
                     ",\"pid\":" + std::to_string(getpid()) + ",\"name\":\"weft-carrier\",\"msg\":\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(c));
      line += escaped;
    } else {
      line += c;
    }
  }
  line += "\"}\n";
  // A line that cannot be written is lost.
  (void)!write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace weft
