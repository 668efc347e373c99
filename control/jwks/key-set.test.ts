import assert from 'node:assert/strict';
import { generateKeyPairSync, type JsonWebKey } from 'node:crypto';
import { test } from 'node:test';
import { keySetLimits, readKeySet } from './key-set.js';

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const publicKey = (key: { export(o: { format: 'jwk' }): JsonWebKey }, more = {}): object => ({
  ...key.export({ format: 'jwk' }),
  ...more,
});
const good = publicKey(ec.publicKey, { kid: 'good', alg: 'ES256', use: 'sig' });
const setOf = (...keys: unknown[]): string => JSON.stringify({ keys });
const kids = (text: string): unknown[] =>
  (JSON.parse(readKeySet(text).jwks) as { keys: { kid?: string }[] }).keys.map(({ kid }) => kid);

test('keys of RSA, the three curves and Ed25519 are kept, in one order, without what nobody needs', () => {
  const keys = [
    publicKey(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey, {
      kid: 'r',
      x5c: ['x'],
      nonsense: 1,
    }),
    ...['P-256', 'P-384', 'P-521'].map((namedCurve) =>
      publicKey(generateKeyPairSync('ec', { namedCurve }).publicKey, { kid: namedCurve }),
    ),
    publicKey(generateKeyPairSync('ed25519').publicKey, { kid: 'o' }),
  ];
  assert.deepEqual(kids(setOf(...keys)), ['P-256', 'P-384', 'P-521', 'o', 'r']);
  assert.equal(readKeySet(setOf(...keys)).jwks, readKeySet(setOf(...keys.reverse())).jwks);
  assert.doesNotMatch(readKeySet(setOf(...keys)).jwks, /x5c|nonsense/);
});

test('what is no key set is refused with the reason', () => {
  for (const [text, message] of [
    ['<!doctype html><html></html>', /no JSON: it begins with "<!doctype/],
    ['', /no JSON/],
    ['[]', /no list of keys/],
    ['null', /no list of keys/],
    ['{"keys":{}}', /no list of keys/],
    ['{"keys":[]}', /no key that can be used/],
    ['{"keys":[1]}', /key 1 is no object/],
    [' '.repeat(keySetLimits.bytes + 1), /more than/],
    [setOf(...Array.from({ length: 101 }, () => good)), /more than 100 keys/],
  ] as const)
    assert.throws(() => readKeySet(text), message, text.slice(0, 20));
});

test('a private key makes the set unusable; symmetric, weak and broken keys are dropped', () => {
  const weak = publicKey(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey, { kid: 'weak' });
  const slow = publicKey(generateKeyPairSync('rsa', { modulusLength: 3072 }).publicKey, {
    e: Buffer.alloc(383, 0xff).toString('base64url'),
  });
  assert.throws(() => readKeySet(setOf(good, publicKey(ec.privateKey))), /private key/);
  const others: [unknown, RegExp][] = [
    [weak, /weak: 1024 bits/],
    [slow, /exponent is too long/],
    [{ kty: 'oct', k: 'c2VjcmV0', kid: 's' }, /symmetric/],
    [{ ...good, crv: 'secp256k1' }, /curve/],
    [{ ...good, x: 'AAAA' }, /cannot be read/],
    [{ ...good, y: (good as { x: string }).x }, /cannot be read/],
    [{ ...good, use: 'enc' }, /not for signatures/],
    [{ ...good, key_ops: ['encrypt'] }, /not for signatures/],
    [{ ...good, alg: 'none' }, /algorithm/],
    [{ ...good, alg: 'HS256' }, /algorithm/],
    [{ ...good, kid: 'k'.repeat(300) }, /kid/],
    [{ kty: 'future' }, /unknown/],
    [{}, /unknown/],
  ];
  for (const [key, message] of others) {
    assert.match(readKeySet(setOf(key, good)).dropped[0] ?? '', message);
    assert.deepEqual(kids(setOf(key, good)), ['good']);
    assert.throws(() => readKeySet(setOf(key)), /no key that can be used/);
  }
  assert.doesNotMatch(readKeySet(setOf({ kty: 'oct', k: 'c2VjcmV0' }, good)).jwks, /c2VjcmV0/);
});
