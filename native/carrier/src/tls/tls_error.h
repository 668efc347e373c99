// SPDX-License-Identifier: Apache-2.0
// The text of OpenSSL's last error.
#pragma once

#include <string>

namespace weft {

// OpenSSL's last error of this thread, which names what failed, or the given text if there is none. Clears the thread's errors.
std::string TlsErrorText(const char* otherwise);

}  // namespace weft
