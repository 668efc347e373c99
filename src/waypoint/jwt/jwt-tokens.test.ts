import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { claimsOf, inSeconds, newKey, signed } from '../../../test/support/jwt-issuer.js';
import { FairCache } from './fair-cache.js';
import { compileIssuer, type Issuer } from './issuer.js';
import { issuerOf } from '../../../test/support/jwt-issuer.js';
import { readKeySet } from './key-set.js';
import { jwtLimits, JwtTokens, type JwtLimits } from './jwt-tokens.js';

const key = newKey('ES256');
const issuer = compileIssuer(issuerOf(key));
const client = { name: 'spiffe://cluster.local/ns/shop/sa/web', group: 'shop' };
const other = { name: 'spiffe://cluster.local/ns/bank/sa/web', group: 'bank' };

function tokensOf(limits: Partial<JwtLimits> = {}): {
  tokens: JwtTokens;
  reached: string[];
  now: { ms: number };
} {
  const reached: string[] = [];
  const now = { ms: 0 };
  const tokens = new JwtTokens((limit) => reached.push(limit), {
    limits: { ...jwtLimits, ...limits },
    nowMs: () => now.ms,
  });
  return { tokens, reached, now };
}
/** Verifies a token as the filter does. */
async function verify(
  tokens: JwtTokens,
  token: string,
  by: Issuer = issuer,
  from = client,
): Promise<boolean | 'busy' | 'refused'> {
  const digest = JwtTokens.digestOf(token);
  const known = tokens.of(from, digest, token);
  const { decoded } = known;
  if ('fault' in decoded) {
    tokens.refuse(from, digest, token, known);
    return 'refused';
  }
  const keys = by.keysFor(decoded);
  if ('refusal' in keys) return 'refused';
  return tokens.verify(from, digest, token, known, keys);
}
const numbered = (i: number): string =>
  signed(
    key,
    claimsOf({
      sub: `user-${i}`,
      email: `user-${i}@example.test`,
      groups: ['dev', 'ops', `team-${i % 50}`],
      org: { id: i, name: 'shop' },
    }),
  );

test('a token is verified once, also if many requests bring it at the same time', async () => {
  const { tokens } = tokensOf();
  const token = signed(key);
  const results = await Promise.all(Array.from({ length: 2_000 }, () => verify(tokens, token)));
  assert.ok(results.every((one) => one === true));
  assert.equal(tokens.counts.verifications, 1);
  assert.equal(await verify(tokens, token), true);
  assert.equal(tokens.counts.verifications, 1);
});

test('a token that no key has signed is not verified again for a while, for that client', async () => {
  const { tokens, now } = tokensOf({ refusedMs: 1_000 });
  const forged = signed({ ...newKey('ES256'), keyId: key.keyId });
  for (let i = 0; i < 5; i++) assert.equal(await verify(tokens, forged), false);
  assert.equal(tokens.counts.verifications, 1);
  now.ms = 1_001;
  assert.equal(await verify(tokens, forged), false);
  assert.equal(tokens.counts.verifications, 2);
  assert.equal(await verify(tokens, forged, issuer, other), false);
  assert.equal(tokens.counts.verifications, 3);
});

test('a flood of refused tokens takes no memory beyond the limit, and none from valid ones', async () => {
  const { tokens, reached } = tokensOf({ refusedMax: 100 });
  const token = signed(key);
  assert.equal(await verify(tokens, token), true);
  for (let i = 0; i < 5_000; i++) await verify(tokens, `garbage.${i}.x`);
  assert.equal(tokens.size.entries, 101);
  assert.equal(await verify(tokens, token), true);
  assert.equal(tokens.counts.verifications, 1);
  assert.deepEqual(reached, []);
});

test('a client whose new tokens are being verified in great number gets no more, and others do', async () => {
  const { tokens, reached } = tokensOf({ verificationsMax: 16 });
  const all = Array.from({ length: 40 }, (_one, i) => signed(key, claimsOf({ sub: `${i}` })));
  const [first, second] = await Promise.all([
    Promise.all(all.map((token) => verify(tokens, token))),
    Promise.all(all.slice(0, 2).map((token) => verify(tokens, token, issuer, other))),
  ]);
  assert.equal(first.filter((one) => one === true).length, 8);
  assert.equal(first.filter((one) => one === 'busy').length, 32);
  assert.deepEqual(second, [true, true]);
  assert.ok(reached.includes('jwt-verifications'));
  // The shares were given back.
  assert.equal(await verify(tokens, all.at(-1) ?? ''), true);
});

test('a client that fills the cache pushes out its own tokens, not those of others', async () => {
  const { tokens, reached } = tokensOf({ verifiedMax: 20 });
  const ofOther = signed(key, claimsOf({ sub: 'other' }));
  await verify(tokens, ofOther, issuer, other);
  for (let i = 0; i < 50; i++) await verify(tokens, numbered(i));
  assert.equal(tokens.size.entries, 20);
  assert.ok(reached.includes('jwt-tokens'));
  const before = tokens.counts.verifications;
  await verify(tokens, ofOther, issuer, other);
  await verify(tokens, numbered(49));
  assert.equal(
    tokens.counts.verifications - before,
    1,
    'an ES256 signature of the same claims is another token',
  );
});

test('10000 distinct tokens stay within the stated memory', async () => {
  v8.setFlagsFromString('--expose_gc');
  const collect = vm.runInNewContext('gc') as () => void;
  const heap = (): number => {
    for (let i = 0; i < 3; i++) collect();
    return process.memoryUsage().heapUsed;
  };
  const { tokens } = tokensOf();
  await verify(tokens, numbered(-1));
  const before = heap();
  for (let i = 0; i < 10_000; i++) {
    const token = numbered(i);
    assert.equal(await verify(tokens, token), true);
    const known = tokens.of(client, JwtTokens.digestOf(token), token);
    assert.ok(!('fault' in known.decoded));
    known.view = { serial: issuer.serial, valid: issuer.read(known.decoded, token.split('.')[1] ?? '') };
  }
  const { entries, bytes } = tokens.size;
  const used = heap() - before;
  assert.ok(entries > 9_000, `${entries} are remembered`);
  assert.ok(bytes <= jwtLimits.verifiedBytesMax);
  assert.ok(used <= bytes, `${used} bytes are used, ${bytes} counted`);
});

test('claims that take much memory are counted with it', async () => {
  v8.setFlagsFromString('--expose_gc');
  const collect = vm.runInNewContext('gc') as () => void;
  const heap = (): number => {
    for (let i = 0; i < 3; i++) collect();
    return process.memoryUsage().heapUsed;
  };
  // Objects of one member each, all with other names: the most memory for the text.
  const claims = (i: number): Record<string, unknown> =>
    claimsOf({ x: Array.from({ length: 240 }, (_one, j) => ({ [`${i}_${j}`]: {} })) });
  const { tokens } = tokensOf();
  await verify(tokens, signed(key, claims(-1)));
  const before = heap();
  for (let i = 0; i < 500; i++) assert.equal(await verify(tokens, signed(key, claims(i))), true);
  const used = heap() - before;
  const { bytes } = tokens.size;
  assert.ok(used <= bytes, `${used} bytes are used, ${bytes} counted`);
});

test('the cache drops what has expired, and an entry beyond its size at once', () => {
  const cache = new FairCache<number>({ bytes: 100, entries: 10 });
  cache.set('a', 'x', 1, 10, 50);
  assert.equal(cache.get('a', 'x', 49), 1);
  assert.equal(cache.get('b', 'x', 49), undefined);
  assert.equal(cache.get('a', 'x', 50), undefined);
  assert.deepEqual([cache.size, cache.bytes], [0, 0]);
  cache.set('a', 'huge', 1, 101);
  assert.equal(cache.size, 0);
  for (let i = 0; i < 5; i++) cache.set('a', `${i}`, i, 30);
  assert.deepEqual([cache.size, cache.bytes], [3, 90]);
  cache.get('a', '2', 0);
  cache.set('b', 'y', 1, 30);
  assert.deepEqual(
    ['2', '3', '4'].map((key_) => cache.get('a', key_, 0)),
    [2, undefined, 4],
  );
  cache.delete('b', 'y');
  cache.delete('b', 'y');
  assert.deepEqual([cache.size, cache.bytes], [2, 60]);
});

test('a token without an end is verified, and one that ends is not verified again before', async () => {
  const { tokens } = tokensOf();
  for (const token of [signed(key, { iss: issuer.name }), signed(key, claimsOf({ exp: inSeconds(5) }))])
    for (let i = 0; i < 2; i++) assert.equal(await verify(tokens, token), true);
  assert.equal(tokens.counts.verifications, 2);
});

test('a key with a long exponent is not used: each verification would take tens of milliseconds', () => {
  const { n } = generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey.export({ format: 'jwk' });
  const problems = (e: string): readonly string[] =>
    readKeySet(JSON.stringify({ keys: [{ kty: 'RSA', n, e }] })).problems;
  assert.deepEqual(problems('AQAB'), []);
  assert.match(problems(Buffer.alloc(255, 0xff).toString('base64url')).join(), /too long an exponent/);
});
