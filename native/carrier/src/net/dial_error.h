// SPDX-License-Identifier: Apache-2.0
// Texts of failed connections, in the words of Node.js and so of the TypeScript relay (daemonset/pod/sockets.ts).
#pragma once

#include <cstdint>
#include <string>

#include "base/address.h"

namespace weft {

// The name of an errno ("ECONNREFUSED").
std::string ErrorName(int error);
// Why connect() to this address failed. ETIMEDOUT: there was no response within `timeout_ms`.
std::string DialError(const Address& to, int error, uint64_t timeout_ms);

}  // namespace weft
