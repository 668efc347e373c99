// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace weft {

// Drops every capability but CAP_SYS_ADMIN and every system call that the broker does not need. False, with a reason: nothing may run.
bool EnterBrokerSandbox(std::string* why);

}  // namespace weft
