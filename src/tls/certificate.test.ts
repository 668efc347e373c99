import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseSpiffeId, parseTrustDomain } from '../model/identity.js';
import { checkClientPeer, checkServerPeer } from './contexts.js';
import { assembleSvid, parseLeaf, spiffeIdOfNames, uriNames } from './certificate.js';
import { createRoot, issueServerCert, issueSvid } from './issue.js';
import { createCsr, parseCsr } from './csr.js';
import { parseIp } from '../model/address.js';

const id = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const root = createRoot(parseTrustDomain('cluster.local'), 86_400);

function issue(ttlS = 3600): { keyPem: string; leaf: string } {
  const { keyPem, csrPem } = createCsr(id);
  const csr = parseCsr(csrPem);
  assert.ok(csr.ok);
  const leaf = issueSvid({
    caKeyPem: root.keyPem,
    caCertPem: root.certPem,
    csrPublicKeyPem: csr.value.publicKeyPem,
    id,
    ttlS,
  });
  return { keyPem, leaf };
}

test('an issued SVID passes OpenSSL and has the extensions that SPIFFE requires', () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-tls-'));
  try {
    writeFileSync(join(dir, 'root.pem'), root.certPem);
    writeFileSync(join(dir, 'leaf.pem'), issue().leaf);
    const openssl = (...args: string[]): string =>
      execFileSync('openssl', args, { encoding: 'utf8', cwd: dir });
    assert.match(
      openssl('verify', '-x509_strict', '-CAfile', 'root.pem', '-purpose', 'sslclient', 'leaf.pem'),
      /OK/,
    );
    const text = openssl('x509', '-in', 'leaf.pem', '-noout', '-text');
    assert.match(text, /Key Usage: critical\s+Digital Signature\n/);
    assert.match(
      text,
      /Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster.local\/ns\/shop\/sa\/web\n/,
    );
    assert.match(text, /TLS Web Server Authentication, TLS Web Client Authentication/);
    assert.match(text, /CA:FALSE/);
    assert.match(openssl('x509', '-in', 'root.pem', '-noout', '-text'), /Certificate Sign, CRL Sign/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('parseCsr reads the requested URI, also from a CSR made by OpenSSL', () => {
  const own = parseCsr(createCsr(id).csrPem);
  assert.ok(own.ok);
  assert.equal(own.value.uri, id);
  const by = (names: string): string | undefined => {
    const csrPem = execFileSync(
      'openssl',
      `req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -keyout /dev/null -subj /O=x -addext subjectAltName=${names}`.split(
        ' ',
      ),
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const csr = parseCsr(csrPem);
    assert.ok(csr.ok);
    return csr.value.uri;
  };
  assert.equal(by(`DNS:web.shop,URI:${id}`), id);
  assert.equal(by(`URI:${id},URI:${id}2`), undefined);
  assert.equal(by('DNS:web.shop'), undefined);
});

test('a certificate never outlives its issuer', () => {
  const leaf = parseLeaf(issue(10 * 86_400).leaf);
  assert.ok(leaf.ok && leaf.value.notAfterMs <= Date.now() + 86_400_000);
});

test('parseCsr rejects a request that is not signed by its key, and garbage', () => {
  const { csrPem } = createCsr(id);
  const broken = csrPem.replace(
    /([A-Za-z0-9+/])([A-Za-z0-9+/])(={0,2}\n-----END)/,
    (_, a: string, b: string, c: string) => b + a + c,
  );
  assert.equal(parseCsr(broken === csrPem ? 'x' : broken).ok, false);
  assert.equal(parseCsr('').ok, false);
  assert.equal(
    parseCsr(`-----BEGIN CERTIFICATE REQUEST-----\n${'A'.repeat(40)}\n-----END CERTIFICATE REQUEST-----`).ok,
    false,
  );
  assert.equal(parseCsr('-----BEGIN CERTIFICATE REQUEST-----\n'.padEnd(100_000, 'A')).ok, false);
});

test('assembleSvid rejects a response for another identity, another key, or another root', () => {
  const { keyPem, leaf } = issue();
  assert.equal(assembleSvid(id, keyPem, [leaf, root.certPem]).id, id);
  const other = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/db');
  assert.throws(() => assembleSvid(other, keyPem, [leaf, root.certPem]), /the certificate is for spiffe/);
  assert.throws(() => assembleSvid(id, issue().keyPem, [leaf, root.certPem]), /another key/);
  const foreign = createRoot(parseTrustDomain('cluster.local'), 60);
  assert.throws(() => assembleSvid(id, keyPem, [leaf, foreign.certPem]), /has signed the leaf/);
  assert.throws(() => assembleSvid(id, keyPem, [leaf]), /fewer than two/);
});

test('a CA, or a certificate with two URI names or none, is not a leaf', () => {
  assert.equal(parseLeaf(root.certPem).ok, false);
  assert.equal(spiffeIdOfNames('URI:spiffe://a/b, URI:spiffe://a/c').ok, false);
  assert.equal(spiffeIdOfNames('DNS:example.org').ok, false);
  assert.equal(spiffeIdOfNames(undefined).ok, false);
});

test('a DNS name that contains a comma and a SPIFFE ID does not give that identity', () => {
  const stolen = 'spiffe://cluster.local/ns/bank/sa/teller';
  for (const name of [`evil, URI:${stolen}`, `evil, URI:${stolen}, DNS:x`, `evil", URI:${stolen}, DNS:"x`]) {
    const { certPem } = issueServerCert({
      caKeyPem: root.keyPem,
      caCertPem: root.certPem,
      ips: [parseIp('10.0.0.1')],
      dns: [name],
      ttlS: 60,
    });
    const { subjectAltName } = new X509Certificate(certPem);
    assert.ok(subjectAltName?.includes(stolen), 'Node prints the name');
    assert.deepEqual(uriNames(subjectAltName), [], name);
    assert.equal(spiffeIdOfNames(subjectAltName).ok, false);
    assert.equal(checkClientPeer(subjectAltName, parseTrustDomain('cluster.local')).ok, false);
    assert.equal(checkServerPeer(subjectAltName, [parseSpiffeId(stolen)]).ok, false);
  }
});

test('text that is not in Node’s form gives no names', () => {
  for (const text of [
    'URI:"spiffe://a/b',
    'URI:a"b',
    'URI:"\\x"',
    ', URI:spiffe://a/b',
    'URI:spiffe://a/b, ',
    'URI',
  ])
    assert.equal(uriNames(text), undefined, text);
  assert.deepEqual(uriNames('DNS:a, IP Address:FD00:0:0:0:0:0:0:1, URI:spiffe://a/b'), ['spiffe://a/b']);
  assert.equal(uriNames(Array(17).fill('URI:a').join(', ')), undefined);
});

test('a serving certificate contains its addresses', () => {
  const server = issueServerCert({
    caKeyPem: root.keyPem,
    caCertPem: root.certPem,
    ips: [parseIp('10.0.0.1'), parseIp('fd00::1')],
    dns: ['weft'],
    ttlS: 60,
  });
  assert.equal(parseLeaf(server.certPem).ok, false);
  assert.match(server.keyPem, /BEGIN PRIVATE KEY/);
});
