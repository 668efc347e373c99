// SPDX-License-Identifier: Apache-2.0
// For tests: a certificate authority, and two identities.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "tls/credentials.h"

namespace weft {

inline constexpr char kDomain[] = "cluster.local";
inline constexpr char kClient[] = "spiffe://cluster.local/ns/a/sa/client";
inline constexpr char kServer[] = "spiffe://cluster.local/ns/b/sa/server";

inline std::string ToPem(X509* certificate) {
  BIO* const bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate);
  char* text = nullptr;
  const long bytes = BIO_get_mem_data(bio, &text);
  std::string pem(text, static_cast<size_t>(bytes));
  BIO_free(bio);
  return pem;
}

// Signs what Credentials::MakeKey requests.
class Ca {
 public:
  Ca() : key_(EVP_EC_gen("P-256")), certificate_(X509_new()) {
    Fill(certificate_, key_, 3600, true);
    X509_set_subject_name(certificate_, X509_get_issuer_name(certificate_));
    X509_sign(certificate_, key_, EVP_sha256());
  }
  ~Ca() {
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  std::string roots() const { return ToPem(certificate_); }

  // `uris`: other names than that of the request.
  std::string Sign(const std::string& csr_pem, long valid_s, const std::vector<std::string>& uris) const {
    BIO* const bio = BIO_new_mem_buf(csr_pem.data(), static_cast<int>(csr_pem.size()));
    X509_REQ* const request = PEM_read_bio_X509_REQ(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    if (!request) return "";
    EVP_PKEY* const key = X509_REQ_get_pubkey(request);
    X509* const leaf = X509_new();
    Fill(leaf, key, valid_s, false);
    GENERAL_NAMES* const names = sk_GENERAL_NAME_new_null();
    for (const std::string& uri : uris) {
      GENERAL_NAME* const name = GENERAL_NAME_new();
      ASN1_IA5STRING* const text = ASN1_IA5STRING_new();
      ASN1_STRING_set(text, uri.data(), static_cast<int>(uri.size()));
      GENERAL_NAME_set0_value(name, GEN_URI, text);
      sk_GENERAL_NAME_push(names, name);
    }
    if (!uris.empty()) X509_add1_ext_i2d(leaf, NID_subject_alt_name, names, 1, 0);
    GENERAL_NAMES_free(names);
    X509_sign(leaf, key_, EVP_sha256());
    std::string pem = ToPem(leaf);
    X509_free(leaf);
    EVP_PKEY_free(key);
    X509_REQ_free(request);
    return pem;
  }

  bool Issue(Credentials* credentials, const std::string& identity, uint32_t turn = 1, long valid_s = 3600) const {
    std::string why;
    const std::string csr = credentials->MakeKey(identity, turn);
    return credentials->Install(identity, turn, Sign(csr, valid_s, {identity}), roots(), std::to_string(turn),
                                static_cast<uint64_t>(time(nullptr) + valid_s) * 1000, &why);
  }

 private:
  static void Fill(X509* certificate, EVP_PKEY* key, long valid_s, bool is_ca) {
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), rand());
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), valid_s);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(certificate), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
    if (!is_ca) return;
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  EVP_PKEY* key_;
  X509* certificate_;
};

}  // namespace weft
