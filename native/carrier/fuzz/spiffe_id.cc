// SPDX-License-Identifier: Apache-2.0
// Names of certificates: X.509 in DER, and what is read of a name.
#include "tls/spiffe_id.h"

#include <openssl/x509.h>

#include "fuzz.h"
#include "tls/credentials.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = weft::fuzz::Text(data, size);
  if (weft::SpiffeIdFault(text).empty()) {
    FUZZ_CHECK(text.substr(0, 9) == "spiffe://");
    FUZZ_CHECK(text.find_first_of("\0 %\\\"'\n#?@", 0, 10) == std::string_view::npos);
  }
  const std::string name_space = weft::NamespaceOf(text);
  FUZZ_CHECK(name_space.find('/') == std::string::npos);

  const uint8_t* at = data;
  X509* const certificate = d2i_X509(nullptr, &at, static_cast<long>(size));
  if (!certificate) return 0;
  std::string why;
  const std::string id = weft::SpiffeIdOf(certificate, &why);
  FUZZ_CHECK(id.empty() ? !why.empty() : weft::SpiffeIdFault(id).empty());
  X509_free(certificate);
  return 0;
}
