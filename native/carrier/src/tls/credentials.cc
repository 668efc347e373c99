// SPDX-License-Identifier: Apache-2.0
#include "tls/credentials.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "tls/spiffe_id.h"
#include "tls/tls_error.h"

namespace weft {

namespace {
template <auto kFree>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, Freed<X509_REQ_free>>;
using ContextPtr = std::shared_ptr<SSL_CTX>;

// 128 first: it costs less, and is no weaker in practice.
constexpr char kCiphersuites[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
constexpr unsigned char kAlpn[] = {2, 'h', '2'};
// Keys of one identity that wait for a certificate, or have one.
constexpr size_t kTurnsMax = 4;
constexpr size_t kPemBytesMax = 1 << 20;
constexpr int kUriNamesMax = 16;

std::vector<X509Ptr> ReadCertificates(const std::string& pem) {
  std::vector<X509Ptr> found;
  if (pem.size() > kPemBytesMax) return found;
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  while (X509* const one = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) found.emplace_back(one);
  ERR_clear_error();
  return found;
}

int SelectH2(SSL*, const unsigned char** out, unsigned char* out_bytes, const unsigned char* offered, unsigned offered_bytes,
             void*) {
  for (unsigned at = 0; at < offered_bytes; at += 1 + offered[at]) {
    if (offered[at] != 2 || at + 2 >= offered_bytes || offered[at + 1] != 'h' || offered[at + 2] != '2') continue;
    *out = offered + at + 1;
    *out_bytes = 2;
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

ContextPtr MakeContext(bool is_server, EVP_PKEY* key, const std::vector<X509Ptr>& chain, const std::vector<X509Ptr>& roots) {
  const ContextPtr context(SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method()), SSL_CTX_free);
  SSL_CTX* const raw = context.get();
  if (!raw || !SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) || !SSL_CTX_set_max_proto_version(raw, TLS1_3_VERSION) ||
      !SSL_CTX_set_ciphersuites(raw, kCiphersuites))
    return nullptr;
  // No resumption: OpenSSL does not check the dates of a resumed session's certificate.
  SSL_CTX_set_options(raw, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_num_tickets(raw, 0);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | (is_server ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nullptr);
  if (is_server)
    SSL_CTX_set_alpn_select_cb(raw, SelectH2, nullptr);
  else if (SSL_CTX_set_alpn_protos(raw, kAlpn, sizeof(kAlpn)) != 0)
    return nullptr;
  X509_STORE* const store = SSL_CTX_get_cert_store(raw);
  for (const X509Ptr& root : roots)
    if (!X509_STORE_add_cert(store, root.get())) return nullptr;
  if (!SSL_CTX_use_certificate(raw, chain[0].get()) || !SSL_CTX_use_PrivateKey(raw, key)) return nullptr;
  for (size_t i = 1; i < chain.size(); i++)
    if (!SSL_CTX_add1_chain_cert(raw, chain[i].get())) return nullptr;
  return context;
}

// The identity as the only name, critical because the subject is empty (RFC 5280, section 4.2.1.6).
bool AddName(X509_REQ* request, const std::string& identity) {
  const std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>> names(sk_GENERAL_NAME_new_null());
  GENERAL_NAME* const name = GENERAL_NAME_new();
  ASN1_IA5STRING* const uri = ASN1_IA5STRING_new();
  ASN1_STRING_set(uri, identity.data(), static_cast<int>(identity.size()));
  GENERAL_NAME_set0_value(name, GEN_URI, uri);
  sk_GENERAL_NAME_push(names.get(), name);
  X509_EXTENSION* const extension = X509V3_EXT_i2d(NID_subject_alt_name, 1, names.get());
  if (!extension) return false;
  STACK_OF(X509_EXTENSION)* extensions = sk_X509_EXTENSION_new_null();
  sk_X509_EXTENSION_push(extensions, extension);
  const bool is_added = X509_REQ_add_extensions(request, extensions) == 1;
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  return is_added;
}
}  // namespace

struct Credentials::Impl {
  struct Identity {
    // In the order in which they were made, each turn once: every agent counts turns from the begin.
    std::vector<std::pair<uint32_t, KeyPtr>> keys;
    auto Find(uint32_t turn) {
      return std::find_if(keys.begin(), keys.end(), [turn](const auto& key) { return key.first == turn; });
    }
    CredentialPtr installed;
  };
  mutable std::mutex mutex;
  std::map<std::string, Identity> identities;
  std::string trust_domain;
};

Credentials::Credentials() : impl_(std::make_unique<Impl>()) {}
Credentials::~Credentials() = default;

void Credentials::Keep(const std::set<std::string>& wanted, const std::string& trust_domain) {
  const std::lock_guard lock(impl_->mutex);
  impl_->trust_domain = trust_domain;
  std::erase_if(impl_->identities, [&](const auto& entry) { return !wanted.contains(entry.first); });
}

std::string Credentials::MakeKey(const std::string& identity, uint32_t turn) {
  KeyPtr key(EVP_EC_gen("P-256"));
  const RequestPtr request(X509_REQ_new());
  if (!key || !request || !X509_REQ_set_pubkey(request.get(), key.get()) || !AddName(request.get(), identity) ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) <= 0)
    return "";
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!PEM_write_bio_X509_REQ(bio.get(), request.get())) return "";
  char* text = nullptr;
  const long bytes = BIO_get_mem_data(bio.get(), &text);
  const std::lock_guard lock(impl_->mutex);
  Impl::Identity& of = impl_->identities[identity];
  if (const auto former = of.Find(turn); former != of.keys.end()) of.keys.erase(former);
  of.keys.emplace_back(turn, std::move(key));
  if (of.keys.size() > kTurnsMax) of.keys.erase(of.keys.begin());
  return std::string(text, static_cast<size_t>(bytes));
}

bool Credentials::Install(const std::string& identity, uint32_t turn, const std::string& chain_pem,
                          const std::string& roots_pem, const std::string& serial, uint64_t not_after_ms, std::string* why) {
  const auto refuse = [&](const std::string& reason) {
    *why = reason;
    return false;
  };
  const auto chain = ReadCertificates(chain_pem);
  const auto roots = ReadCertificates(roots_pem);
  if (chain.empty() || roots.empty()) return refuse("the leaf or the roots are missing");
  std::string fault;
  const std::string id = SpiffeIdOf(chain[0].get(), &fault);
  if (id != identity) return refuse(id.empty() ? fault : "the certificate is for " + id);
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->identities.find(identity);
  if (found == impl_->identities.end()) return refuse("there is no key of this identity");
  auto& keys = found->second.keys;
  const auto key = found->second.Find(turn);
  if (key == keys.end()) return refuse("there is no key of this turn");
  if (X509_check_private_key(chain[0].get(), key->second.get()) != 1) {
    ERR_clear_error();
    return refuse("the certificate is for another key");
  }
  auto made = std::make_shared<Credential>();
  made->identity = identity;
  made->serial = serial;
  made->not_after_ms = not_after_ms;
  made->client = MakeContext(false, key->second.get(), chain, roots);
  made->server = MakeContext(true, key->second.get(), chain, roots);
  if (!made->client || !made->server) return refuse(TlsErrorText("the certificate cannot be used"));
  found->second.installed = std::move(made);
  // Keys that were made before are of no more use.
  keys.erase(keys.begin(), key);
  return true;
}

CredentialPtr Credentials::Find(const std::string& identity) const {
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->identities.find(identity);
  if (found == impl_->identities.end() || !found->second.installed) return nullptr;
  return found->second.installed->not_after_ms > WallMs() ? found->second.installed : nullptr;
}

std::string Credentials::trust_domain() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->trust_domain;
}

std::string SpiffeIdOf(X509* certificate, std::string* why) {
  int critical = 0;
  const std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, nullptr)));
  // -1: there is no such extension; otherwise it is repeated or malformed.
  if (!names && critical != -1) {
    ERR_clear_error();
    *why = "the names of the certificate cannot be parsed";
    return "";
  }
  int uris = 0;
  std::string id;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); i++) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    if (++uris > kUriNamesMax) {
      *why = "the names of the certificate cannot be parsed";
      return "";
    }
    const ASN1_STRING* const uri = name->d.uniformResourceIdentifier;
    id.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)), static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  if (uris != 1) {
    *why = "certificate has " + std::to_string(uris) + " URI names, exactly one is allowed";
    return "";
  }
  *why = SpiffeIdFault(id);
  return why->empty() ? id : "";
}

}  // namespace weft
