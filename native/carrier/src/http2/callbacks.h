// SPDX-License-Identifier: Apache-2.0
// nghttp2's callbacks and options, the same for all connections.
#pragma once

#include <nghttp2/nghttp2.h>

namespace weft {

const nghttp2_session_callbacks* Http2CallbackTable();
const nghttp2_option* Http2Options();

}  // namespace weft
