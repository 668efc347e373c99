// SPDX-License-Identifier: Apache-2.0
// What a peer with a certificate sends to port 15008, after TLS. The input follows the client's preface.
#include "http2_peer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr uint8_t kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
  weft::fuzz::Peer peer(data, size, true);
  peer.Receive(kPreface, sizeof(kPreface));
  peer.Receive(data, size);
  return 0;
}
