// SPDX-License-Identifier: Apache-2.0
#include "http2/connect_request.h"

#include "http2/limits.h"

namespace weft {

std::string ReadConnect(const HeaderFields& fields, size_t list_bytes, TunnelQuestion* question) {
  std::string method, authority;
  bool is_extended = false;
  // Values of a repeated field are one list (RFC 9110, section 5.3). Two identities are none.
  const auto add = [](std::string* to, const std::string& value) {
    if (!to->empty()) *to += ", ";
    *to += value;
  };
  for (const auto& [name, value] : fields) {
    if (name == ":method")
      method = value;
    else if (name == ":authority")
      authority = value;
    else if (name == ":path" || name == ":protocol")
      is_extended = true;
    else if (name == "baggage")
      add(&question->baggage, value);
    else if (name == "forwarded")
      add(&question->forwarded, value);
    else if (name == "traceparent")
      add(&question->traceparent, value);
    else if (name == "weft-source-identity")
      add(&question->source_identity, value);
  }
  if (method != "CONNECT") return "the method is not CONNECT";
  const size_t max = CurrentTunnelLimits().header_list_bytes_max;
  if (list_bytes > max) return "the header list exceeds " + std::to_string(max) + " bytes";
  // HBONE uses plain CONNECT. The extended CONNECT of RFC 8441 has a :protocol and a :path.
  if (is_extended) return "extended CONNECT (:path or :protocol) is not supported";
  const auto address = ParseAddress(authority);
  if (!address) return "WEFT_ADDRESS_INVALID: \"" + authority.substr(0, 64) + "\" is not of the form ip:port";
  question->authority = *address;
  return "";
}

}  // namespace weft
