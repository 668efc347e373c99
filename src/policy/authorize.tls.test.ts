import assert from 'node:assert/strict';
import { test } from 'node:test';
import { anyRequest, id, policy } from '../../test/support/mesh.js';
import { parseIp } from '../model/address.js';
import type { StringMatch, TlsMatch } from '../model/policy.js';
import { authorize, denialReason, type ConnectionAttributes } from './authorize.js';

const attributes = (more: Partial<ConnectionAttributes>): ConnectionAttributes => ({
  identity: id('web'),
  sourceIp: parseIp('10.0.0.1'),
  destinationIp: parseIp('10.0.0.2'),
  destinationPort: 443,
  ...more,
});
const tls = (serverNames: readonly StringMatch[], notServerNames: readonly StringMatch[] = []): TlsMatch => ({
  serverNames,
  notServerNames,
});
const exact = (value: string): StringMatch => ({ kind: 'exact', value });
const suffix = (value: string): StringMatch => ({ kind: 'suffix', value });
const allowed = (
  action: 'allow' | 'deny',
  match: TlsMatch,
  of: Partial<ConnectionAttributes>,
  more: object = {},
): boolean => authorize([policy('p', action, { ...more, tls: match })], attributes(of)).allowed;

test('server names: compared if the ClientHello was read, skipped if the waypoint authorized the connection, worst case otherwise', () => {
  const name = tls([exact('a.test')]);
  assert.equal(allowed('allow', name, { serverName: 'a.test' }), true);
  assert.equal(allowed('allow', name, { serverName: 'b.test' }), false);
  assert.equal(allowed('deny', name, { serverName: 'a.test' }), false);
  assert.equal(allowed('deny', name, { serverName: 'b.test' }), true);
  for (const action of ['allow', 'deny'] as const)
    for (const match of [
      name,
      tls([], [exact('a.test')]),
      tls([{ kind: 'presence' }]),
      tls([], [{ kind: 'presence' }]),
    ]) {
      assert.equal(allowed(action, match, { http: 'authorized-by-waypoint' }), true);
      assert.equal(allowed(action, match, {}), false);
      const request = { method: 'GET', host: 'a.test', paths: ['/'], header: () => undefined };
      assert.equal(
        allowed(action, match, { http: request }),
        false,
        'a request does not say the server name',
      );
    }
});

test('server names: those that are excluded, and suffixes', () => {
  const some = tls([suffix('.a.test')], [exact('x.a.test')]);
  for (const [serverName, matches] of [
    ['y.a.test', true],
    ['x.a.test', false],
    ['a.test', false],
    ['a.test.b', false],
  ] as const) {
    assert.equal(allowed('allow', some, { serverName }), matches, serverName);
    assert.equal(allowed('deny', some, { serverName }), !matches, serverName);
  }
});

test('the other conditions of a match hold as well', () => {
  const name = tls([exact('a.test')]);
  const other = { destinationPorts: [8443] };
  assert.equal(allowed('deny', name, {}, other), true, 'another port');
  assert.equal(allowed('allow', name, { serverName: 'a.test' }, other), false);
  const http = { http: { ...anyRequest, methods: ['GET'] } };
  assert.equal(allowed('allow', name, { serverName: 'a.test' }, http), false, 'no request was read');
  assert.equal(allowed('deny', name, { serverName: 'a.test' }, http), false);
  assert.equal(allowed('deny', name, { serverName: 'b.test' }, http), true);
});

test('a denial says the server name that was compared, or that none was read', () => {
  const why = (
    action: 'allow' | 'deny',
    of: Partial<ConnectionAttributes>,
    match = tls([exact('a.test')]),
  ): string => denialReason(authorize([policy('p', action, { tls: match })], attributes(of)));
  assert.match(
    why('deny', { serverName: 'a.test' }),
    /policy shop\/p rule 0 denies it; TLS server name: a\.test$/,
  );
  assert.match(
    why('allow', { serverName: 'b.test' }),
    /no rule of shop\/p allows it; TLS server name: b\.test$/,
  );
  assert.match(why('allow', {}), /; TLS server name: none was read$/);
  const plain = authorize(
    [policy('p', 'deny', { destinationPorts: [443] })],
    attributes({ serverName: 'a.test' }),
  );
  assert.doesNotMatch(denialReason(plain), /server name/);
});
