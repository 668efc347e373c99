// SPDX-License-Identifier: Apache-2.0
#include "tls/tls_error.h"

#include <openssl/err.h>

namespace weft {

std::string TlsErrorText(const char* otherwise) {
  const unsigned long first = ERR_get_error();
  ERR_clear_error();
  if (first == 0) return otherwise;
  char text[256];
  ERR_error_string_n(first, text, sizeof(text));
  return text;
}

}  // namespace weft
