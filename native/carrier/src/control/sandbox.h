// SPDX-License-Identifier: Apache-2.0
// What the processes give up once they have started. Order: the broker is forked, the carrier listens, its threads run, then the sandbox.
#pragma once

#include <cstdint>
#include <string>

namespace weft {

// The process cannot gain privileges, leaves no core file and cannot be traced: it has keys. Then all capabilities but those of `keep`
// (a mask) go, also from the bounding set. For the calling thread and the threads that it starts: call it before there are others.
bool DropCapabilities(uint64_t keep, std::string* why);

// System calls beyond the carrier's list fail with EPERM; those that only somebody who has taken over the process would make, end it. For
// all threads. (The broker has its own: net/broker_sandbox.h.)
bool FilterSystemCalls(std::string* why);

}  // namespace weft
