// SPDX-License-Identifier: Apache-2.0
// What the server at the other end of a tunnel sends, after TLS.
#include "http2_peer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::fuzz::Peer peer(data, size, false);
  for (int i = 0; i < 4; i++) peer.Request();
  peer.Receive(data, size);
  return 0;
}
