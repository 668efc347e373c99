import assert from 'node:assert/strict';
import { test } from 'node:test';
import { anyRequest, id, identity, policy } from '../../test/support/mesh.js';
import { parseIp } from '../model/address.js';
import type { HttpMatch } from '../model/policy.js';
import { authorize, type ConnectionAttributes, type HttpAttributes } from './authorize.js';

const attributes = (http?: ConnectionAttributes['http']): ConnectionAttributes => ({
  identity: id('web'),
  sourceIp: parseIp('10.0.0.1'),
  destinationIp: parseIp('10.0.0.2'),
  destinationPort: 80,
  ...(http === undefined ? {} : { http }),
});
const asked = (more: Partial<HttpAttributes> = {}, headers: Record<string, string> = {}): HttpAttributes => ({
  method: 'GET',
  host: 'api.shop',
  paths: ['/a'],
  header: (name) => headers[name],
  ...more,
});
const allowed = (
  action: 'allow' | 'deny',
  http: Partial<HttpMatch>,
  of: ConnectionAttributes['http'],
  more = {},
): boolean =>
  authorize([policy('p', action, { ...more, http: { ...anyRequest, ...http } })], attributes(of)).allowed;

test('HTTP conditions: evaluated if the request was read, skipped if the waypoint authorized it, worst case if no proxy read it', () => {
  const get = { methods: ['GET'] };
  assert.equal(allowed('allow', get, asked()), true);
  assert.equal(allowed('allow', get, asked({ method: 'POST' })), false);
  assert.equal(allowed('deny', get, asked()), false);
  assert.equal(allowed('deny', get, asked({ method: 'POST' })), true);
  assert.equal(allowed('allow', get, 'authorized-by-waypoint'), true);
  assert.equal(allowed('deny', get, 'authorized-by-waypoint'), true);
  assert.equal(allowed('allow', get, undefined), false);
  assert.equal(allowed('deny', get, undefined), false);
});

test('the layer 4 conditions of a rule apply as well, whoever authorized the request', () => {
  const web = { principals: [{ kind: 'exact', value: 'cluster.local/ns/shop/sa/web' }] };
  const other = { principals: [{ kind: 'exact', value: 'cluster.local/ns/shop/sa/other' }] };
  const get = { methods: ['GET'] };
  for (const of of [asked(), 'authorized-by-waypoint'] as const) {
    assert.equal(allowed('allow', get, of, web), true);
    assert.equal(allowed('allow', get, of, other), false);
  }
  assert.equal(allowed('deny', get, undefined, other), true, 'it would deny no request of this client');
  assert.equal(allowed('deny', get, asked(), web), false);
  assert.equal(allowed('deny', get, asked(), other), true);
});

test('a DENY matches if any reading of the path matches, an ALLOW if all readings match', () => {
  const admin = { paths: [{ kind: 'prefix', value: '/admin' }] } as const;
  const notAdmin = { notPaths: [{ kind: 'prefix', value: '/admin' }] } as const;
  const both = asked({ paths: ['/x%2Fadmin', '/admin'] });
  assert.equal(allowed('deny', admin, both), false);
  assert.equal(allowed('allow', admin, both), false);
  assert.equal(allowed('allow', notAdmin, both), false);
  assert.equal(allowed('deny', notAdmin, both), false);
  assert.equal(allowed('deny', notAdmin, asked({ paths: ['/admin', '/admin/'] })), true);
});

test('a method in another case is not allowed by an ALLOW and is denied by a DENY', () => {
  const lower = asked({ method: 'delete' });
  assert.equal(allowed('deny', { methods: ['DELETE'] }, lower), false);
  assert.equal(allowed('allow', { methods: ['DELETE'] }, lower), false);
  assert.equal(allowed('allow', { notMethods: ['DELETE'] }, lower), false);
  assert.equal(allowed('deny', { notMethods: ['DELETE'] }, lower), false);
});

test('a repeated header matches a DENY by any of its values, an ALLOW only by all values together', () => {
  const role = (negated: boolean): Partial<HttpMatch> => ({
    headers: [{ name: 'x-role', values: [{ kind: 'exact', value: 'admin' }], negated }],
  });
  const of = (value: string): HttpAttributes => asked({}, { 'x-role': value });
  assert.equal(allowed('deny', role(false), of('admin')), false);
  assert.equal(allowed('deny', role(false), of('user, admin')), false);
  assert.equal(allowed('deny', role(false), of('admin,user')), false);
  assert.equal(allowed('deny', role(false), of('user')), true);
  assert.equal(allowed('deny', role(false), asked()), true);
  assert.equal(allowed('allow', role(false), of('admin')), true);
  assert.equal(allowed('allow', role(false), of('user, admin')), false);
  assert.equal(allowed('allow', role(true), of('user')), true);
  assert.equal(allowed('allow', role(true), of('user, admin')), false);
  assert.equal(allowed('allow', role(true), asked()), true);
  assert.equal(allowed('deny', role(true), of('admin')), true);
  assert.equal(allowed('deny', role(true), of('admin, user')), false);
});

test('hosts, templates and presence', () => {
  const host = { hosts: [{ kind: 'suffix', value: '.shop' }] } as const;
  assert.equal(allowed('allow', host, asked()), true);
  assert.equal(allowed('allow', host, asked({ host: 'shop' })), false);
  assert.equal(allowed('deny', { notHosts: host.hosts }, asked()), true);
  const there: Partial<HttpMatch> = {
    headers: [{ name: 'x', values: [{ kind: 'presence' }], negated: false }],
  };
  assert.equal(allowed('allow', there, asked()), false);
  assert.equal(allowed('allow', there, asked({}, { x: 'y' })), true);
  const template = (...segments: string[]): Partial<HttpMatch> => ({
    paths: [{ kind: 'template', segments }],
  });
  const table: [string[], string, boolean][] = [
    [['a', '*'], '/a/b', true],
    [['a', '*'], '/a/', false],
    [['a', '*'], '/a', false],
    [['a', '*'], '/a/b/c', false],
    [['a', '**'], '/a/b/c', true],
    [['a', '*', 'c'], '/a/b/c', true],
    [['a', '*', 'c'], '/a/b/d', false],
    [['**'], '/', true],
  ];
  for (const [segments, path, holds] of table)
    assert.equal(
      allowed('allow', template(...segments), asked({ paths: [path] })),
      holds,
      `${segments} ${path}`,
    );
});

test('regular expressions match whole paths and header values; what cannot be evaluated takes access away', () => {
  const path = (value: string): Partial<HttpMatch> => ({ paths: [{ kind: 'regex', value }] });
  const header = (value: string, negated = false): Partial<HttpMatch> => ({
    headers: [{ name: 'x-a', values: [{ kind: 'regex', value }], negated }],
  });
  assert.equal(allowed('allow', path('/users/[0-9]+'), asked({ paths: ['/users/1'] })), true);
  assert.equal(allowed('allow', path('/users/[0-9]+'), asked({ paths: ['/users/1/x'] })), false);
  assert.equal(allowed('allow', path('/a.*'), asked({ paths: ['/a', '/b'] })), false, 'a reading differs');
  assert.equal(allowed('deny', path('/a.*'), asked({ paths: ['/a', '/b'] })), false, 'a reading matches');
  assert.equal(allowed('allow', header('a|b'), asked({}, { 'x-a': 'b' })), true);
  assert.equal(allowed('allow', header('a|b'), asked({}, { 'x-a': 'bc' })), false);
  assert.equal(allowed('allow', header('a|b'), asked()), false);
  // The control plane refuses such an expression; one of another version may not.
  for (const [action, value] of [
    ['allow', false],
    ['deny', false],
  ] as const) {
    assert.equal(allowed(action, path('('), asked()), value);
    assert.equal(allowed(action, header('('), asked({}, { 'x-a': 'a' })), value);
    assert.equal(allowed(action, header('(', true), asked({}, { 'x-a': 'a' })), value);
    const long = asked({ paths: [`/${'a'.repeat(200_000)}`] });
    assert.equal(allowed(action, path('/a*b?'), long), value, 'too long for the expression');
  }
});

test('expressions that use up the time of one pair of namespaces leave others theirs', () => {
  const costly = { paths: [{ kind: 'regex', value: `/${'[ab]*'.repeat(60)}c` }] } as const;
  const simple = (): Partial<HttpMatch> => ({ paths: [{ kind: 'regex', value: '/a[0-9]' }] });
  const of = (policyNamespace: string, client: string, http: Partial<HttpMatch>, path: string): boolean =>
    authorize([policy('p', 'allow', { http: { ...anyRequest, ...http } }, { namespace: policyNamespace })], {
      ...attributes(asked({ paths: [path] })),
      identity: identity(client, 'x'),
    }).allowed;
  let isUsedUp = false;
  for (const end = performance.now() + 10_000; performance.now() < end && !isUsedUp;) {
    for (let i = 0; i < 20; i++) of('bank', 'greedy', costly, `/${'ab'.repeat(400)}`);
    isUsedUp = !of('bank', 'greedy', simple(), '/a1');
    assert.equal(of('bank', 'shop', simple(), '/a1'), true, 'other clients of the same policies');
    assert.equal(of('other', 'greedy', simple(), '/a1'), true, 'the same clients elsewhere');
  }
  assert.ok(isUsedUp);
});
