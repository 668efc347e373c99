// SPDX-License-Identifier: Apache-2.0
#include "tls/credentials.h"

#include <doctest/doctest.h>

#include "tls/spiffe_id.h"
#include "tls/test_ca.h"

using namespace weft;

namespace {
std::string IdOf(const std::string& pem, std::string* why) {
  BIO* const bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* const certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  std::string id = SpiffeIdOf(certificate, why);
  X509_free(certificate);
  return id;
}
}  // namespace

TEST_CASE("a certificate is found while it is valid, and only with its key") {
  Ca ca;
  Credentials credentials;
  credentials.Keep({kClient}, kDomain);
  CHECK(credentials.trust_domain() == kDomain);
  CHECK(!credentials.Find(kClient));
  CHECK(ca.Issue(&credentials, kClient, 7));
  const CredentialPtr found = credentials.Find(kClient);
  REQUIRE(found);
  CHECK(found->serial == "7");
  // A renewal replaces it, and what is in use stays usable.
  CHECK(ca.Issue(&credentials, kClient, 8));
  CHECK(credentials.Find(kClient)->serial == "8");
  CHECK(found->client);
  // Expired.
  CHECK(ca.Issue(&credentials, kClient, 9, -10));
  CHECK(!credentials.Find(kClient));
  // No longer wanted.
  CHECK(ca.Issue(&credentials, kClient, 10));
  credentials.Keep({kServer}, kDomain);
  CHECK(!credentials.Find(kClient));
}

TEST_CASE("a certificate that does not belong to the key of its turn is refused") {
  Ca ca;
  Credentials credentials;
  std::string why;
  const std::string first = credentials.MakeKey(kClient, 1);
  const std::string second = credentials.MakeKey(kClient, 2);
  CHECK(first.find("BEGIN CERTIFICATE REQUEST") != std::string::npos);
  const uint64_t later = ~0ull;
  CHECK(!credentials.Install(kClient, 2, ca.Sign(first, 60, {kClient}), ca.roots(), "1", later, &why));
  CHECK(why == "the certificate is for another key");
  CHECK(!credentials.Install(kClient, 3, ca.Sign(first, 60, {kClient}), ca.roots(), "1", later, &why));
  CHECK(why == "there is no key of this turn");
  CHECK(!credentials.Install(kServer, 1, ca.Sign(first, 60, {kClient}), ca.roots(), "1", later, &why));
  CHECK(!credentials.Install(kClient, 1, ca.Sign(first, 60, {kServer}), ca.roots(), "1", later, &why));
  CHECK(why == std::string("the certificate is for ") + kServer);
  CHECK(!credentials.Install(kClient, 1, "nonsense", ca.roots(), "1", later, &why));
  CHECK(credentials.Install(kClient, 2, ca.Sign(second, 60, {kClient}), ca.roots(), "1", later, &why));
  // Keys of former turns are gone.
  CHECK(!credentials.Install(kClient, 1, ca.Sign(first, 60, {kClient}), ca.roots(), "1", later, &why));
}

TEST_CASE("keys that former agents have asked for are no obstacle for those of a new agent, which counts turns from the begin") {
  Ca ca;
  Credentials credentials;
  // Each agent has renewed the certificate less often than the one before.
  for (const uint32_t turn : {500u, 300u, 100u, 20u, 3u, 1u}) CHECK(ca.Issue(&credentials, kClient, turn));
  CHECK(credentials.Find(kClient)->serial == "1");
  // An agent that got no certificate for its keys.
  for (uint32_t turn = 10; turn < 20; turn++) credentials.MakeKey(kClient, turn);
  CHECK(ca.Issue(&credentials, kClient, 2));
  CHECK(credentials.Find(kClient)->serial == "2");
  // The same turn of two agents: the key is that of the later one.
  std::string why;
  const std::string former = credentials.MakeKey(kClient, 2);
  const std::string latter = credentials.MakeKey(kClient, 2);
  CHECK(!credentials.Install(kClient, 2, ca.Sign(former, 60, {kClient}), ca.roots(), "3", ~0ull, &why));
  CHECK(credentials.Install(kClient, 2, ca.Sign(latter, 60, {kClient}), ca.roots(), "4", ~0ull, &why));
}

TEST_CASE("an identity is exactly one URI that is a SPIFFE ID") {
  Ca ca;
  Credentials credentials;
  std::string why;
  const std::string csr = credentials.MakeKey(kClient, 1);
  CHECK(IdOf(ca.Sign(csr, 60, {kClient}), &why) == kClient);
  CHECK(IdOf(ca.Sign(csr, 60, {kClient, kServer}), &why).empty());
  CHECK(why == "certificate has 2 URI names, exactly one is allowed");
  CHECK(IdOf(ca.Sign(csr, 60, {}), &why).empty());
  CHECK(why == "certificate has 0 URI names, exactly one is allowed");
  CHECK(IdOf(ca.Sign(csr, 60, {"https://cluster.local/ns/a/sa/client"}), &why).empty());
  CHECK(IdOf(ca.Sign(csr, 60, {std::string("spiffe://cluster.local/ns/a/sa/client\0x", 39)}), &why).empty());
  CHECK(IdOf(ca.Sign(csr, 60, {"spiffe://cluster.local/a, URI:spiffe://x/y"}), &why).empty());
}

TEST_CASE("SPIFFE IDs") {
  for (const char* id : {kClient, "spiffe://a/b", "spiffe://a.b-c_1/B/c.d"}) CHECK(SpiffeIdFault(id) == "");
  for (const char* id : {"", "spiffe://", "spiffe://a", "spiffe://A/b", "spiffe:///b", "spiffe://a/", "spiffe://a//b", "spiffe://a/./b",
                         "spiffe://a/../b", "spiffe://a/b c", "SPIFFE://a/b", "spiffe://a/b/"})
    CHECK(SpiffeIdFault(id) != "");
  CHECK(SpiffeIdFault("spiffe://a/" + std::string(2048, 'x')) != "");
  CHECK(SpiffeIdFault("spiffe://" + std::string(256, 'x') + "/b") != "");
  CHECK(NamespaceOf(kClient) == "a");
  CHECK(NamespaceOf("spiffe://a/b") == "");
  CHECK(NamespaceOf("spiffe://a/ns/b/sa/c/d") == "");
}
