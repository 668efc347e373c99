/** Key sets and descriptions of issuers, which come from servers of others, are read or refused with a bounded reason. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { maxAgeOf } from '../../control/jwks/decide.js';
import { readKeySet } from '../../control/jwks/key-set.js';
import { keysUriIn, uriProblem } from '../../control/jwks/uri.js';
import { exampleJwks } from '../support/authentication.js';
import { fuzz } from '../support/fuzz.js';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const seeds = [
  exampleJwks(),
  JSON.stringify({ keys: [rsa.publicKey.export({ format: 'jwk' })] }),
  JSON.stringify({ keys: [rsa.privateKey.export({ format: 'jwk' }), { kty: 'oct', k: 'c2VjcmV0' }] }),
  '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}',
  '{"issuer":"https://id.example","jwks_uri":"https://id.example/keys"}',
  '<!doctype html><html><body>Sign in</body></html>',
].map((text) => Buffer.from(text));

/** The result, or undefined if it was refused with a bounded reason. */
function refusedOr<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof Error);
    assert.ok(error.message.length > 0 && error.message.length < 2_000, error.message.slice(0, 100));
    return undefined;
  }
}

test('a key set of any bytes is read without private or symmetric keys, or refused', () => {
  fuzz(seeds, (bytes) => {
    const read = refusedOr(() => readKeySet(Buffer.from(bytes).toString('utf8')));
    if (!read) return;
    const { keys } = JSON.parse(read.jwks) as { keys: Record<string, unknown>[] };
    assert.equal(keys.length, read.count);
    for (const key of keys) assert.ok(!('d' in key) && !('k' in key) && !('p' in key), read.jwks);
    // What was read once is read again as it is.
    assert.equal(readKeySet(read.jwks).jwks, read.jwks);
  });
});

test('a description of any bytes names a URI that can be fetched, or is refused', () => {
  fuzz(seeds, (bytes) => {
    const text = Buffer.from(bytes).toString('utf8');
    const uri = refusedOr(() => keysUriIn(text));
    if (uri !== undefined) assert.equal(uriProblem(uri), undefined);
    const age = maxAgeOf(text);
    assert.ok(age === undefined || (Number.isSafeInteger(age) && age >= 0));
  });
});
