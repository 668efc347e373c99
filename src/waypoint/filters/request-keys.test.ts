import assert from 'node:assert/strict';
import { test } from 'node:test';
import { id } from '../../../test/support/mesh.js';
import { parseIp } from '../../model/address.js';
import { hashKeyKinds, rateLimitKeyKinds } from '../../model/service-policy.js';
import { clientOf } from '../listener/client.js';
import type { RequestHead } from '../http/http-stream.js';
import { keyLengthMax, keyReader, requestKey, requestValues, type KeyedRequest } from './request-keys.js';

const key = (kind: string, name = '') => ({ kind, name });
const request = (head: Partial<RequestHead> = {}, routeLabel?: string): KeyedRequest => ({
  client: clientOf(id('web'), { ip: parseIp('10.0.0.1'), port: 4711 }),
  downstream: {
    head: { method: 'GET', path: '/a?x=1', authority: 'api.shop:80', scheme: 'http', headers: [], ...head },
  },
  routeLabel,
});

test('each kind of key reads its part of the request', () => {
  const table: [string, string, Partial<RequestHead>, string | undefined][] = [
    ['client-identity', '', {}, id('web')],
    ['client-namespace', '', {}, 'shop'],
    ['client-address', '', {}, '10.0.0.1'],
    ['method', '', { method: 'PUT' }, 'PUT'],
    ['path', '', { path: '/b/c?x=1' }, '/b/c'],
    ['route', '', {}, 'shop/r/0'],
    ['header', 'X-User', { headers: ['x-user', 'ann'] }, 'ann'],
    ['header', 'x-user', { headers: ['x-user', 'ann', 'y', '1', 'x-user', 'bob'] }, 'ann, bob'],
    ['header', 'x-user', { headers: ['x-user', ''] }, ''],
    ['header', 'x-user', { headers: ['y', 'x-user'] }, undefined],
    ['header', 'Host', {}, 'api.shop:80'],
    ['cookie', 's', { headers: ['cookie', 'ss=1; s = 2 ; s=3'] }, '2'],
    ['cookie', 's', { headers: ['cookie', 'a=1', 'cookie', 's=a=b'] }, 'a=b'],
    ['cookie', 's', { headers: ['cookie', 's; x=s=1;'] }, undefined],
    ['query', 'id', { path: '/?x&i%64=a%20b&id=2' }, 'a b'],
    ['query', 'id', { path: '/?id' }, ''],
    ['query', 'id', { path: '/id=1' }, undefined],
  ];
  for (const [kind, name, head, expected] of table)
    assert.equal(keyReader(key(kind, name))(request(head, 'shop/r/0')), expected, `${kind} ${name}`);
  for (const kind of [...rateLimitKeyKinds, ...hashKeyKinds]) keyReader(key(kind, 'x'));
});

test('a key that is not understood does not compile', () => {
  for (const bad of [key('tls-version'), key('header'), key('cookie'), key('query'), key('')])
    assert.throws(() => keyReader(bad));
});

test('a request without a value has no key, and other keys do not make up for it', () => {
  const keys = [key('header', 'x'), key('method')];
  assert.equal(requestKey(keys)(request()), undefined);
  assert.equal(requestValues(keys)(request()), undefined);
  assert.deepEqual(requestValues(keys)(request({ headers: ['x', '1'] })), ['1', 'GET']);
  assert.equal(requestKey([])(request()), '');
});

test('different values have different keys, wherever a value ends', () => {
  const of = requestKey([key('header', 'x'), key('header', 'y'), key('header', 'z')]);
  const values = ['', '1', ':', '1:', '1:1', '2:', '12'];
  const seen = new Set<string | undefined>();
  for (const x of values)
    for (const y of values)
      for (const z of values) seen.add(of(request({ headers: ['x', x, 'y', y, 'z', z] })));
  assert.equal(seen.size, values.length ** 3);
});

test('long values are bounded, and still differ at their ends', () => {
  const of = keyReader(key('header', 'x'));
  const long = 'a'.repeat(60_000);
  const value = of(request({ headers: ['x', `${long}1`] })) ?? '';
  assert.ok(value.length < 64);
  assert.notEqual(value, of(request({ headers: ['x', `${long}2`] })));
  const fits = 'a'.repeat(keyLengthMax);
  assert.equal(of(request({ headers: ['x', fits] })), fits);
});
