// SPDX-License-Identifier: Apache-2.0
// Which address is the client's, for the log and for the destination's getpeername().
#pragma once

#include <optional>
#include <string_view>

#include "base/address.h"
#include "worker.h"

namespace weft {

// With root in its network namespace a pod may bind a socket to any address. An address that is not the pod's is replaced by the pod's own,
// as on the wire to another node. Nothing if the pod has no address of the family that was dialed.
std::optional<Address> OwnClient(const Pod& pod, const Address& remote, const Address& dialed);

// The client of a tunnel as its agent states it in `forwarded` (RFC 7239). The tunnel's source address is the pod's, so the stated IP must
// match it; else the tunnel's own remote address.
Address ClientOfTunnel(std::string_view forwarded, const Address& remote);

}  // namespace weft
