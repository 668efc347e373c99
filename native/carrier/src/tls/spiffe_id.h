// SPDX-License-Identifier: Apache-2.0
// SPIFFE IDs as src/model/identity.ts reads them.
#pragma once

#include <string>
#include <string_view>

namespace weft {

// Why the text is not a SPIFFE ID with a path; empty: it is one.
std::string SpiffeIdFault(std::string_view text);
// The namespace of spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT; empty if the path has another form.
std::string NamespaceOf(std::string_view id);

}  // namespace weft
