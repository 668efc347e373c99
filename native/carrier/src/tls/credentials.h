// SPDX-License-Identifier: Apache-2.0
// Keys and certificates of the identities in use. Keys are generated here and never leave the process. Thread-safe.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>

namespace weft {

// One certificate with its key. Immutable.
struct Credential {
  std::string identity;
  std::string serial;
  uint64_t not_after_ms = 0;
  std::shared_ptr<SSL_CTX> client;
  std::shared_ptr<SSL_CTX> server;
};
using CredentialPtr = std::shared_ptr<const Credential>;

class Credentials {
 public:
  Credentials();
  ~Credentials();

  // Forgets the keys of all other identities.
  void Keep(const std::set<std::string>& wanted, const std::string& trust_domain);
  // Generates a P-256 key for this turn and returns a certificate request with the identity as its only URI (PEM).
  std::string MakeKey(const std::string& identity, uint32_t turn);
  // The certificate for the key of this turn. False, with a reason: no such turn, or the certificate does not belong to the key.
  bool Install(const std::string& identity, uint32_t turn, const std::string& chain_pem, const std::string& roots_pem,
               const std::string& serial, uint64_t not_after_ms, std::string* why);
  // Null if there is none that is valid now.
  CredentialPtr Find(const std::string& identity) const;
  std::string trust_domain() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The SPIFFE ID of a verified certificate: exactly one URI, and it is a SPIFFE ID (src/tls/certificate.ts, spiffeIdOfNames).
// Empty, with a reason, otherwise.
std::string SpiffeIdOf(X509* certificate, std::string* why);

}  // namespace weft
