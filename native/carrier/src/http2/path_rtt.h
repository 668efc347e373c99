// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace weft {

// The smallest round trip time that the kernel has measured on a TCP connection; 0: unknown.
uint64_t PathRttUs(int socket);

}  // namespace weft
