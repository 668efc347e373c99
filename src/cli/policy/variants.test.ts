import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr, parseIp } from '../../model/address.js';
import type { PolicyPath } from '../../model/policy.js';
import { distinctionsOf, ipVariants, requestVariants } from './variants.js';

const none = distinctionsOf([]);
const pathsFor = (pathTemplate: string, ...paths: PolicyPath[]): string[] =>
  requestVariants({ method: 'GET', pathTemplate, host: 'api' }, { ...none, paths }).all.map(
    (one) => one.paths[0] ?? '',
  );
const exact = (value: string): PolicyPath => ({ kind: 'exact', value });
const prefix = (value: string): PolicyPath => ({ kind: 'prefix', value });

test('without a wildcard there is one path; a wildcard may be any identifier that a policy names, and nothing else', () => {
  assert.deepEqual(pathsFor('/orders', exact('/orders/17'), prefix('/ord')), ['/orders']);
  const [any = '', ...named] = pathsFor(
    '/orders/*',
    exact('/orders/17'),
    exact('/orders/new'),
    exact('/users/17'),
    exact('/orders/17/x'),
    prefix('/orders/4'),
  );
  assert.match(any, /^\/orders\/[0-9a-f]{16}$/);
  assert.equal(named[0], '/orders/17');
  assert.match(named[1] ?? '', /^\/orders\/4[0-9a-f]{16}$/);
  assert.equal(named.length, 2);
});

test('an unknown method or path may be each that a policy names, and one that none does', () => {
  const { all } = requestVariants(
    { method: 'other', pathTemplate: 'other', host: 'api' },
    { ...none, methods: ['GET'], paths: [exact('/admin')] },
  );
  const seen = new Set(all.map(({ method, paths }) => `${method} ${paths[0]}`));
  for (const one of ['GET /admin', 'X-OTHER /admin']) assert.ok(seen.has(one), one);
  assert.equal(seen.size, 6, 'and one below the path that the policy names');
});

test('headers that policies read are there, or not; more variants than the limit are said', () => {
  const { all } = requestVariants(
    { method: 'GET', pathTemplate: '/a', host: 'api' },
    { ...none, headers: [{ name: 'x-role', value: 'admin' }] },
  );
  assert.deepEqual(
    all.map((one) => one.header('x-role')),
    [undefined, 'admin'],
  );
  const many = Array.from({ length: 100 }, (_, i) => exact(`/orders/${i}`));
  const found = requestVariants(
    { method: 'GET', pathTemplate: '/orders/*', host: 'api' },
    { ...none, paths: many },
  );
  assert.deepEqual([found.all.length, found.isPartial], [64, true]);
});

test('an unknown client address is in each block that a policy names, and in none', () => {
  const blocks = [parseCidr('10.0.0.0/8')];
  assert.equal(ipVariants([], []).all.length, 1);
  assert.deepEqual(ipVariants([], blocks).all, [parseIp('192.0.2.1'), parseIp('10.0.0.0')]);
  assert.deepEqual(ipVariants([parseIp('10.1.1.1')], blocks).all, [parseIp('10.1.1.1')]);
});
