/** Keys of token issuers at a waypoint: rotated, unknown, weak, missing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  claimsOf,
  inSeconds,
  issuerOf,
  jwksOf,
  jwtFilter,
  newKey,
  signed,
} from '../../../test/support/jwt-issuer.js';
import { key1 as ec, scene, withPolicy } from '../../../test/support/jwt-scene.js';

test('a token of a removed key is refused at once, and one of a new key accepted that was refused before', async (t) => {
  const next = newKey('ES256', 'k2');
  const { waypoint, set, result } = await withPolicy(t);
  const [old, fresh] = [signed(ec), signed(next)];
  assert.deepEqual([await result(old), await result(fresh)], ['200', '401 unknown-key']);
  set(jwtFilter([issuerOf([ec, next])]));
  assert.deepEqual([await result(old), await result(fresh)], ['200', '200']);
  set(jwtFilter([issuerOf(next)]));
  assert.deepEqual([await result(old), await result(fresh)], ['401 unknown-key', '200']);
  // Another key takes the removed key's ID.
  set(jwtFilter([issuerOf(newKey('ES256', 'k1'))]));
  assert.equal(await result(old), '401 signature');
  set(jwtFilter([issuerOf(ec)]));
  assert.equal(await result(old), '200');
  assert.ok(waypoint.context.jwt.counts.verifications <= 4);
});

test('a token of an unknown key has the set fetched again, once, and is refused meanwhile; inline keys are not asked for', async (t) => {
  const keysUri = 'https://issuer.test/keys';
  const { waypoint, set, result } = await withPolicy(t, { keysUri });
  for (let i = 0; i < 20; i++)
    assert.equal(await result(signed(ec, claimsOf(), { kid: `invented-${i}` })), '401 unknown-key');
  assert.deepEqual(waypoint.keySetsWanted, [keysUri]);
  set(jwtFilter([issuerOf(ec)]));
  assert.equal(await result(signed(ec, claimsOf(), { kid: 'k2' })), '401 unknown-key');
  assert.deepEqual(waypoint.keySetsWanted, [keysUri]);
});

test('a token has no set fetched that is refused for another reason, or that a key without an ID verifies', async (t) => {
  const keysUri = 'https://issuer.test/keys';
  const { waypoint, set, result } = await withPolicy(t, { keysUri, audiences: ['shop'] });
  for (const [token, refusal] of [
    [signed(newKey('ES256', 'k1')), 'signature'],
    [signed(ec, claimsOf(), { alg: 'RS256' }), 'unknown-key'],
    [signed(ec, claimsOf({ exp: inSeconds(-600) }), { kid: 'k2' }), 'expired'],
    [signed(ec, claimsOf({ aud: 'bank' }), { kid: 'k2' }), 'audience'],
    [signed(ec, claimsOf({ iss: 'https://evil.test' }), { kid: 'k2' }), 'unknown-issuer'],
    [signed(newKey('ES256'), claimsOf(), { kid: undefined }), 'signature'],
  ] as const)
    assert.equal(await result(token), `401 ${refusal}`);
  set(jwtFilter([issuerOf([], { jwks: '', keysUri })]));
  assert.equal(await result(signed(ec, claimsOf(), { kid: 'k2' })), '401 no-keys');
  const { kid: _, ...jwk } = ec.jwk as Record<string, unknown>;
  set(jwtFilter([issuerOf([], { jwks: jwksOf({ jwk }), keysUri })]));
  assert.equal(await result(signed(ec, claimsOf(), { kid: 'k2' })), '200');
  assert.deepEqual(waypoint.keySetsWanted, []);
  assert.equal(await result(signed(newKey('ES256', 'k3'))), '401 signature');
  assert.deepEqual(waypoint.keySetsWanted, [keysUri]);
});

test('keys that are weak, secret, private or for another use verify nothing', async (t) => {
  const rsa = newKey('RS256', 'k1');
  const refusing = async (jwk: object): Promise<string> => {
    const { result, waypoint } = await scene(t, [jwtFilter([issuerOf([], { jwks: jwksOf({ jwk }) })])]);
    assert.match(await result(signed(rsa)), /^401 no-keys$/);
    return waypoint.records.at(-1)?.why ?? '';
  };
  assert.match(await refusing(newKey('RS256', 'k1', 1_024).jwk), /1024 bits/);
  assert.match(await refusing({ ...rsa.jwk, use: 'enc' }), /not for signatures/);
  assert.match(await refusing({ ...rsa.jwk, key_ops: ['sign'] }), /not for verification/);
  assert.match(await refusing({ kty: 'oct', k: 'c2VjcmV0', kid: 'k1' }), /no public key/);
  assert.match(await refusing({ ...rsa.privateKey.export({ format: 'jwk' }) }), /private key/);
  const { result } = await scene(t, [jwtFilter([issuerOf({ ...rsa, jwk: { ...rsa.jwk, alg: 'RS512' } })])]);
  assert.equal(await result(signed(rsa)), '401 unknown-key');
});

test('an issuer without keys refuses its tokens, and says why in the log', async (t) => {
  for (const jwks of ['', '<html>', '{"keys":7}', '{"keys":[7]}', 'null']) {
    const { waypoint, result } = await withPolicy(t, { jwks, keysProblem: 'the URI responds with 503' });
    assert.equal(await result(signed(ec)), '401 no-keys');
    assert.match(waypoint.records.at(-1)?.why ?? '', /the URI responds with 503/);
  }
});
