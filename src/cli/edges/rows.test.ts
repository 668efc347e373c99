import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge, party } from '../../../test/support/edges.js';
import { edgeLines, rowsOf } from './rows.js';

test('a connection that both sides report is one row, one from outside of the mesh is a row of its own', () => {
  const nobody = { namespace: '', workload: '', pod: '', identity: undefined };
  const rows = rowsOf([
    edge({}, { connections: 2 }),
    edge({ source: party('shop', 'web', { pod: 'web-2' }) }, { connections: 1, lastSeenMs: 9 }),
    edge({ reporter: 'destination', path: 'inbound-hbone' }, { connections: 3 }),
    edge({ reporter: 'destination', path: 'inbound-plain', source: nobody }, { connections: 5 }),
  ]);
  assert.deepEqual(
    rows.map(({ source, path, security, connections, lastSeenMs }) => [
      source,
      path,
      security,
      connections,
      lastSeenMs,
    ]),
    [
      ['shop/web', 'hbone', 'mutual TLS', 3, 9],
      ['unknown', 'inbound-plain', 'none', 5, 0],
    ],
  );
});

test("a request is the waypoint's row, not also that of the endpoint's node", () => {
  const rows = rowsOf([
    edge({ reporter: 'waypoint', path: 'waypoint', method: 'GET', pathTemplate: '/a' }, { requests: 2 }),
    edge({ reporter: 'waypoint', path: 'waypoint', method: 'GET', pathTemplate: '/b' }, { requests: 1 }),
    edge({ reporter: 'destination', path: 'inbound-hbone' }),
  ]);
  assert.deepEqual(
    rows.map(({ path, requests }) => [path, requests]),
    [['waypoint', 3]],
  );
});

test('a request of a client without identity is not protected; a Service stands for an unknown endpoint', () => {
  const [row] = rowsOf([
    edge({
      reporter: 'waypoint',
      path: 'waypoint',
      source: { namespace: 'shop', workload: '', pod: '', identity: undefined },
      destination: { namespace: 'shop', workload: '', pod: '', identity: undefined },
    }),
  ]);
  assert.deepEqual(
    [row?.source, row?.destination, row?.security],
    ['shop', 'api.shop.svc.cluster.local', 'none'],
  );
});

test('the table says how long ago an edge was seen', () => {
  const [head, line] = edgeLines([edge({}, { lastSeenMs: 1_000 })], 126_000);
  assert.match(
    head ?? '',
    /^SOURCE +DESTINATION +PORT +PATH +SECURITY +CONNECTIONS +REQUESTS +REFUSED +FAILED +LAST SEEN$/,
  );
  assert.match(line ?? '', /^shop\/web +shop\/api +8080 +hbone +mutual TLS +1 +0 +0 +0 +2m5s$/);
});
