import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RequestRecord } from './request-record.js';
import { clientCharsMax, requestEntry } from './request-entry.js';

const record = (more: Partial<RequestRecord>): RequestRecord =>
  ({
    client: { address: { ip: '10.0.0.1', port: 40000 }, identity: 'spiffe://cluster.local/ns/shop/sa/web' },
    service: 'api.shop.svc.cluster.local',
    method: 'GET',
    authority: 'api',
    path: '/orders/7?token=secret',
    status: 200,
    audited: [],
    actions: [],
    attempts: 1,
    startedMs: 1_000,
    durationMs: 5,
    bytesReceived: 1,
    bytesSent: 2,
    ...more,
  }) as unknown as RequestRecord;

test("a request's log record has OpenTelemetry's attributes, and not the query of its path", () => {
  const entry = requestEntry(record({ route: 'HTTPRoute shop/api' }));
  assert.doesNotMatch(JSON.stringify(entry), /secret/);
  assert.equal(entry.body, 'GET /orders/7 200');
  assert.equal(entry.level, 'info');
  assert.equal(entry.timeMs, 1_005);
  for (const [name, value] of Object.entries({
    'http.request.method': 'GET',
    'url.path': '/orders/7',
    'http.response.status_code': 200,
    'http.route': 'HTTPRoute shop/api',
    'client.address': '10.0.0.1',
    'client.port': 40000,
    'weft.source.identity': 'spiffe://cluster.local/ns/shop/sa/web',
  }))
    assert.equal(entry.attributes[name], value, name);
  assert.equal(entry.trace, undefined);
});

test('a request that a policy refused is a warning with its code, and has its trace', () => {
  const trace = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) };
  const entry = requestEntry(
    record({
      status: 403,
      flag: 'RBAC',
      code: 'WEFT_DENIED',
      why: 'denied',
      policy: 'shop/p',
      rule: 2,
      trace,
    }),
  );
  assert.equal(entry.level, 'warn');
  assert.equal(entry.body, 'GET /orders/7 403: denied');
  assert.equal(entry.attributes['error.type'], 'WEFT_DENIED');
  assert.equal(entry.attributes['weft.rule'], 2);
  assert.deepEqual(entry.trace, trace);
});

test('what a client sent is cut, so that records that wait for a collector have a bounded size', () => {
  const long = 'x'.repeat(60_000);
  const entry = requestEntry(record({ method: long, path: `/${long}?${long}`, authority: long }));
  assert.ok(JSON.stringify(entry).length < 6 * clientCharsMax);
  assert.ok(String(entry.attributes['url.path']).startsWith('/xxx'));
});
