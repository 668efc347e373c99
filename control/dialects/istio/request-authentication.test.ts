import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import { atPod, bank, istio, type Asked } from '../../../test/support/istio-security.js';
import { compile } from '../../compile/compile.js';
import { parseManifests } from '../../source/parse.js';

const tokens = (rule: string): string =>
  istio('RequestAuthentication', `{ jwtRules: [{ issuer: a${rule} }] }`);
const allowed = (rule: string, asked: Asked): boolean => atPod(bank(tokens(rule)), asked).allowed;
const withHeaders = (headers: Readonly<Record<string, string>>): Asked => ({ headers });

test('a request with a token is denied, since nobody validates it; a request without one passes, as in Istio', () => {
  assert.equal(allowed('', {}), true);
  for (const token of ['Bearer x', 'bearer x', 'x'])
    assert.equal(allowed('', withHeaders({ authorization: token })), false, token);
  assert.equal(
    atPod(bank(tokens('')), withHeaders({ authorization: 'x' })).policy,
    'bank/RequestAuthentication/p',
  );
});

test('tokens are looked for where the rule says', () => {
  const rule = ', fromHeaders: [{ name: X-Token, prefix: "JWT " }], fromCookies: [session]';
  assert.equal(allowed(rule, withHeaders({ 'x-token': 'JWT a' })), false);
  assert.equal(allowed(rule, withHeaders({ cookie: 'session=a' })), false);
  assert.equal(allowed(rule, withHeaders({ authorization: 'Bearer x' })), true);
  assert.equal(allowed(rule, { path: '/?access_token=x' }), true);
  for (const path of ['/a?access_token=x', '/?b=1&access%5Ftoken=x', '/?b=1;access_token=x'])
    assert.equal(allowed('', { path }), false, path);
  assert.equal(allowed('', { path: '/access_token=x?b=access_token' }), true);
  assert.equal(allowed(', fromParams: [t]', { path: '/?t=x' }), false);
  assert.equal(allowed(', fromParams: [t]', { path: '/?access_token=x' }), true);
});

test('headers that only a validated token sets are not believed from clients', () => {
  const rule = ', outputPayloadToHeader: x-payload, outputClaimToHeaders: [{ header: X-User, claim: sub }]';
  assert.equal(allowed(rule, withHeaders({ 'x-payload': 'a' })), false);
  assert.equal(allowed(rule, withHeaders({ 'x-user': 'admin' })), false);
  assert.equal(allowed(rule, {}), true);
});

test('without a proxy that reads requests, and if a token is required, nothing passes', () => {
  assert.equal(allowed('', { isRaw: true }), false);
  assert.equal(allowed(', presence: REQUIRED', {}), false);
});

test('an object without rules changes nothing; one that cannot be read closes what it selects', () => {
  for (const spec of ['', '{}', '{ jwtRules: [] }']) {
    assert.equal(atPod(bank(istio('RequestAuthentication', spec)), { isRaw: true }).allowed, true, spec);
  }
  const mesh = bank(
    istio('RequestAuthentication', '{ selector: { matchLabels: { app: api } }, jwtRules: [{ newer: 1 }] }'),
  );
  assert.equal(atPod(mesh, {}).allowed, false);
  assert.equal(atPod(mesh, {}, 'bank', 'web').allowed, true);
});

test('its status says that tokens are not validated', () => {
  const { objects } = parseManifests('x', tokens(''));
  const [object] = objects;
  assert.ok(object);
  const compiler = compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' });
  assert.equal(compiler.problemOf(object)?.reason, 'Unsupported');
  assert.match(compiler.problemOf(object)?.message ?? '', /are denied/);
});
