import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusalOf, type AskedRequest } from './access.js';
import { dashboardAddress, urlOf } from './listen.js';

const token = 'a'.repeat(32);
const refused = (more: Partial<AskedRequest> = {}): number | undefined =>
  refusalOf(
    {
      method: 'GET',
      path: '/api/snapshot',
      host: '127.0.0.1:4000',
      authorization: `Bearer ${token}`,
      fetchSite: 'same-origin',
      ...more,
    },
    token,
  )?.status;

test('what is about the mesh needs the token, the files of the page do not', () => {
  assert.equal(refused(), undefined);
  assert.equal(refused({ authorization: undefined }), 401);
  for (const authorization of ['Bearer ', `Bearer ${token}b`, `Basic ${token}`, token])
    assert.equal(refused({ authorization }), 401, authorization);
  assert.equal(refused({ path: '/', authorization: undefined }), undefined);
});

test('the server only reads', () => {
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'CONNECT', ''])
    assert.equal(refused({ method }), 405, method);
  assert.equal(refused({ method: 'HEAD' }), undefined);
});

test('a name of another site that resolves to this machine is refused, whatever the port', () => {
  for (const host of [
    'evil.example:4000',
    'localhost.evil.example',
    'localhost@evil.example',
    '',
    undefined,
    '/',
  ])
    assert.equal(refused({ host }), 403, host);
  for (const host of ['localhost:81', '127.0.0.1', '[::1]:4000', '10.0.0.1:80'])
    assert.equal(refused({ host }), undefined, host);
});

test('pages of other origins get nothing about the mesh, not even with the token', () => {
  for (const fetchSite of ['cross-site', 'same-site', 'x'])
    assert.equal(refused({ fetchSite }), 403, fetchSite);
  for (const fetchSite of ['none', undefined]) assert.equal(refused({ fetchSite }), undefined);
});

test('only addresses of this machine alone are listened on, unless it is asked for', () => {
  for (const text of ['127.0.0.1:0', '127.9.9.9:80', '[::1]:8080', 'localhost:1'])
    assert.ok(dashboardAddress(text, false).host, text);
  for (const text of ['0.0.0.0:80', '10.0.0.1:80', '[::]:80', '[::ffff:127.0.0.1]:80'])
    assert.throws(() => dashboardAddress(text, false), /--insecure-listen/, text);
  assert.deepEqual(dashboardAddress('0.0.0.0:80', true), { host: '0.0.0.0', port: 80 });
  for (const text of ['80', 'host:80', '127.0.0.1:70000', '', ':80'])
    assert.throws(() => dashboardAddress(text, true), /is not <addr>:<port>/, text);
});

test('the token is in the part of the URL that is not sent', () => {
  assert.equal(urlOf('::1', 80, 't'), 'http://[::1]:80/#token=t');
  const since = (ms: number): string => urlOf('::1', 80, 't', ms).replace(/.*&since=/, '');
  assert.deepEqual([90_000, 300_000, 1_500, 86_400_000 * 7 + 1_000].map(since), [
    '90s',
    '5m',
    '2s',
    '10081m',
  ]);
  assert.equal(urlOf('0.0.0.0', 80, 't'), 'http://127.0.0.1:80/#token=t');
});
