// SPDX-License-Identifier: Apache-2.0
#include "tls/tls_error.h"

#include <openssl/err.h>

namespace weft {

std::string TlsErrorText(const char* otherwise) {
  const unsigned long last = ERR_peek_last_error();
  ERR_clear_error();
  if (last == 0) return otherwise;
  char text[256];
  ERR_error_string_n(last, text, sizeof(text));
  return text;
}

}  // namespace weft
