import assert from 'node:assert/strict';
import { test } from 'node:test';
import { id } from '../../../test/support/mesh.js';
import { hash32 } from '../../base/hash.js';
import type { HashKey } from '../../discovery/gen/weft.js';
import { parseIp } from '../../model/address.js';
import { clientOf } from '../listener/client.js';
import type { Headers } from '../http/headers.js';
import { RequestHash } from './request-hash.js';

const client = clientOf(id('web'), { ip: parseIp('10.0.0.9'), port: 4000 });
const keyOf = (kind: string, name = '', more: Partial<HashKey> = {}): HashKey => ({
  kind,
  name,
  cookieTtlMs: 0,
  cookiePath: '',
  ...more,
});
function hashed(keys: readonly HashKey[], path = '/', headers: Headers = []) {
  const cookies: string[] = [];
  const head = { method: 'GET', path, authority: 'api', scheme: 'http', headers };
  const hash = RequestHash.of(keys)?.hash({ client, downstream: { head }, routeLabel: undefined }, (cookie) =>
    cookies.push(cookie),
  );
  return { hash, cookies };
}

test('the first key that the request has decides', () => {
  const keys = [keyOf('header', 'X-User'), keyOf('query', 'id'), keyOf('client-identity')];
  assert.equal(hashed(keys, '/?id=7', ['x-user', 'ann']).hash, hash32('ann'));
  assert.equal(hashed(keys, '/?a=1&id=7').hash, hash32('7'));
  assert.equal(hashed(keys).hash, hash32('spiffe://cluster.local/ns/shop/sa/web'));
  assert.equal(hashed([keyOf('client-address')]).hash, hash32('10.0.0.9'));
  assert.equal(hashed([keyOf('header', 'x-user')]).hash, undefined);
  assert.equal(hashed([keyOf('cookie', 's')], '/', ['cookie', 'a=b; s=one']).hash, hash32('one'));
});

test('a cookie that the request lacks is made, and the request is balanced by it', () => {
  const keys = [keyOf('cookie', 's', { cookieTtlMs: 3_600_000, cookiePath: '/app' })];
  const { hash, cookies } = hashed(keys);
  const [, value = ''] =
    /^s=([0-9a-f]{16}); Max-Age=3600; Path=\/app; HttpOnly$/.exec(cookies[0] ?? '') ?? [];
  assert.equal(hash, hash32(value));
  assert.deepEqual(hashed(keys, '/', ['cookie', `s=${value}`]), { hash, cookies: [] });
  assert.equal(hashed([keyOf('cookie', 's')]).hash, undefined, 'without a time none is made');
});

test('a cookie that would change the response’s head is not made; a key of an unknown kind is left out', () => {
  for (const [name, cookiePath] of [
    ['s', '/\r\nx: y'],
    ['s', '/; Domain=example.com'],
    ['s\r\nx', '/'],
  ] as const)
    assert.deepEqual(hashed([keyOf('cookie', name, { cookieTtlMs: 1, cookiePath })]).cookies, []);
  assert.equal(RequestHash.of([keyOf('phase-of-the-moon')]), undefined);
  assert.equal(hashed([keyOf('phase-of-the-moon'), keyOf('query', 'id')], '/?id=7').hash, hash32('7'));
});
