// SPDX-License-Identifier: Apache-2.0
// The carrier's own log: JSON lines on stderr, as the agent's. Thread-safe.
#pragma once

#include <string_view>

namespace weft {

enum class Level { kInfo = 30, kWarn = 40, kError = 50 };

void Log(Level level, std::string_view text);

}  // namespace weft
