// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace weft {

// Drops every capability but CAP_SYS_ADMIN and every system call that the broker does not need. `directory`: of a file that it removes at its
// end, or -1. False, with a reason: nothing may run.
bool EnterBrokerSandbox(int directory, std::string* why);

}  // namespace weft
