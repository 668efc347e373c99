// SPDX-License-Identifier: Apache-2.0
// A socket whose last bytes were sent: it waits a moment for the peer's end. Closed with unread bytes it would send a reset, which can
// take the GOAWAY from the peer.
#pragma once

#include "base/fd.h"
#include "base/loop.h"

namespace weft {

// Takes over a socket that is registered nowhere.
void LingerAndClose(Loop* loop, Fd socket);

}  // namespace weft
