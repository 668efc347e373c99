// SPDX-License-Identifier: Apache-2.0
// Addresses in text, such as the authority of a peer's CONNECT request.
#include "base/address.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = weft::fuzz::Text(data, size);
  if (const auto address = weft::ParseAddress(text)) {
    FUZZ_CHECK(text.find_first_not_of("0123456789abcdefABCDEF:.[]") == std::string_view::npos);
    FUZZ_CHECK(address->port != 0);
    const std::string again = address->Text();
    FUZZ_CHECK(weft::ParseAddress(again) == address);
    sockaddr_storage raw;
    weft::ToSockaddr(*address, &raw, true);
    FUZZ_CHECK(weft::FromSockaddr(raw) == *address);
  }
  if (const auto ip = weft::ParseIp(text)) FUZZ_CHECK(weft::ParseIp(ip->Text()) == ip);
  return 0;
}
