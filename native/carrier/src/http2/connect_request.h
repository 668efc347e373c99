// SPDX-License-Identifier: Apache-2.0
// The head of a CONNECT request, as src/hbone/inbound-tunnel.ts reads it.
#pragma once

#include <string>

#include "http2/connection.h"
#include "rules/decider.h"

namespace weft {

// Fills the authority and the headers. Returns why the request is not a valid tunnel request; empty: it is one.
std::string ReadConnect(const HeaderFields& fields, size_t list_bytes, TunnelQuestion* question);

}  // namespace weft
