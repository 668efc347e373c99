// SPDX-License-Identifier: Apache-2.0
// Whether this version knows every field of an agent's message. A field that it does not know could be a condition.
#pragma once

#include "carrier.pb.h"

namespace weft {

bool HasUnknownFields(const carrier::v1::Pod& pod);
// Of the message itself: the rule or pod in it is checked on its own, and a hello is compared by its version.
bool HasUnknownFields(const carrier::v1::AgentMessage& message);
// Of the packet itself.
bool HasUnknownFields(const carrier::v1::ToCarrier& packet);

}  // namespace weft
