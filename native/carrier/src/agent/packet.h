// SPDX-License-Identifier: Apache-2.0
// One packet of a SOCK_SEQPACKET socket with its descriptors.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"

namespace weft {

enum class Received {
  kPacket,
  kNothing,  // none is waiting
  kEnd,      // the peer closed, or the socket failed
  kBad,      // larger than a packet may be, or with more descriptors: the packet and its descriptors are gone
};

// Descriptors that one packet may have: a network namespace, and three listeners twice.
constexpr size_t kDescriptorsMax = 7;

// `buffer` gets the packet. An empty packet and the end look the same.
Received ReceivePacket(int socket, std::string* buffer, std::vector<Fd>* descriptors);

}  // namespace weft
