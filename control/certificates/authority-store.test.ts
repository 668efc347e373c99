import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot } from '../../src/tls/issue.js';
import { caFiles } from './authority-files.js';
import { CertificateAuthority } from './ca.js';
import { revocationsFile, revoke } from '../authentication/revocations.js';
import { keyFile } from '../authentication/join-tokens.js';
import { close, createApiServer, listen } from '../../test/support/api-server.js';
import { issueToken, subjectOfToken } from '../../test/support/tokens.js';
import { AuthorityStore, keysOfSecret } from './authority-store.js';

const domain = parseTrustDomain('cluster.local');
const closers: (() => void)[] = [];
after(() => closers.reverse().forEach((close) => close()));
function stateDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'weft-store-'));
  closers.push(() => rmSync(dir, { recursive: true }));
  return dir;
}

/** A store that reads these Secrets from a stub API server. */
async function storeOf(
  secrets: Record<string, Record<string, string>>,
  state: string,
): Promise<AuthorityStore> {
  const server = createApiServer((request, response) => {
    const name = (request.url ?? '').split('/').at(-1) ?? '';
    const data = secrets[name];
    response.statusCode = data ? 200 : 404;
    const encoded = Object.entries(data ?? {}).map(([key, text]) => [
      key,
      Buffer.from(text).toString('base64'),
    ]);
    response.end(JSON.stringify({ data: Object.fromEntries(encoded) }));
  });
  closers.push(() => close(server));
  return new AuthorityStore(await listen(server), 'weft-system', 'weft-ca', state);
}

test('a Secret whose parts do not belong together is refused, and the files stay as they are', async () => {
  const [one, two] = [createRoot(domain, 60), createRoot(domain, 60)];
  const state = stateDir();
  const secret = { 'ca-key.pem': one.keyPem, 'ca-cert.pem': one.certPem, 'root-cert.pem': one.certPem };
  const secrets: Record<string, Record<string, string>> = { 'weft-ca': secret };
  const store = await storeOf(secrets, state);
  assert.equal(await store.pull(), true);
  const before = readFileSync(join(state, caFiles.cert), 'utf8');
  for (const half of [
    { 'ca-cert.pem': two.certPem },
    { 'ca-key.pem': two.keyPem },
    { 'root-cert.pem': two.certPem },
    { 'root-cert.pem': 'nonsense' },
  ]) {
    secrets['weft-ca'] = { ...secret, ...half };
    await assert.rejects(store.pull(), /WEFT_CA_SECRET|is refused/);
    assert.equal(readFileSync(join(state, caFiles.cert), 'utf8'), before);
    assert.equal(new CertificateAuthority(state, domain).roots, one.certPem);
  }
  secrets['weft-ca'] = { ...secret, 'root-cert.pem': one.certPem + two.certPem };
  assert.equal(await store.pull(), true);
});

test('revoked join tokens are read from the Secret of the join key, and a malformed list changes nothing', async () => {
  const state = stateDir();
  const join_: Record<string, string> = { [keyFile]: Buffer.alloc(32, 1).toString('base64') };
  const store = await storeOf({ 'weft-join': join_ }, state);
  await store.pullJoinKey();
  const token = await issueToken(state, 'vm1', 60);
  assert.equal(await subjectOfToken(state, token), 'vm1');
  join_[revocationsFile] = `{"subject":"vm1","beforeS":${Math.floor(Date.now() / 1000)}}\n`;
  await store.pullJoinKey();
  assert.equal(await subjectOfToken(state, token), undefined);
  join_[revocationsFile] = 'nonsense';
  await assert.rejects(store.pullJoinKey(), /revoked-tokens:1/);
  assert.equal(await subjectOfToken(state, token), undefined);
  // The next pull of the Secret would overwrite a local revocation.
  assert.throws(() => revoke(state, { id: 'x' }), /weft-system\/weft-join/);
});

const base64 = (text: string): string => Buffer.from(text).toString('base64');

test("the CA's keys are read from Istio's and cert-manager's Secret layouts; the error for another layout names the missing keys", () => {
  const expected = { key: 'K', cert: 'C', roots: 'R' };
  const istio = { 'ca-key.pem': base64('K'), 'ca-cert.pem': base64('C'), 'root-cert.pem': base64('R') };
  const certManager = { 'tls.key': base64('K'), 'tls.crt': base64('C'), 'ca.crt': base64('R') };
  assert.deepEqual(keysOfSecret({ data: istio }), expected);
  assert.deepEqual(keysOfSecret({ data: certManager }), expected);
  assert.deepEqual(keysOfSecret({ data: { 'tls.key': base64('K'), 'tls.crt': base64('C') } }), {
    ...expected,
    roots: 'C',
  });
  assert.throws(() => keysOfSecret({ data: { 'ca-cert.pem': base64('C') } }), /tls\.key/);
  assert.throws(() => keysOfSecret({}), /tls\.key/);
});
