import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noCounts } from '../model/edge.js';
import { edgeOfConnection, isFailure } from './connection-edges.js';
import type { ConnectionRecord } from './connection-record.js';
import { MeshMetrics } from './metrics.js';

const side = (name: string, address: string): ConnectionRecord['source'] => ({
  address,
  identity: `spiffe://cluster.local/ns/shop/sa/${name}`,
  namespace: 'shop',
  workload: name,
  canonicalName: name,
  canonicalRevision: 'latest',
  pod: `${name}-1`,
});
const unknown: ConnectionRecord['source'] = {
  address: '203.0.113.7:1234',
  identity: 'unknown',
  namespace: 'unknown',
  workload: 'unknown',
  canonicalName: 'unknown',
  canonicalRevision: 'latest',
  pod: 'unknown',
};
const record = (more: Partial<ConnectionRecord> = {}): ConnectionRecord => ({
  direction: 'outbound',
  path: 'hbone',
  why: 'destination-enrolled',
  source: side('web', '10.0.0.1:40000'),
  destination: side('api', '10.0.0.2:8080'),
  dialled: '10.96.0.1:80',
  service: 'api.shop.svc.cluster.local',
  bytesSent: 0,
  bytesReceived: 0,
  durationMs: 0,
  ended: 'open',
  ...more,
});

test('an unknown client has empty names and no identity, IPv6 addresses have ports', () => {
  const { source, reporter, port } = edgeOfConnection(
    record({
      direction: 'inbound',
      path: 'inbound-plain',
      source: unknown,
      destination: side('api', '[fd00::2]:443'),
    }),
  );
  assert.deepEqual(source, { namespace: '', workload: '', pod: '', identity: undefined });
  assert.deepEqual([reporter, port], ['destination', 443]);
});

test('a connection to a waypoint has the Service as its destination: the waypoint chooses the endpoint', () => {
  const { destination, port, service } = edgeOfConnection(
    record({ waypoint: '10.0.0.9:15008', destination: side('api', '10.96.0.10:80') }),
  );
  assert.deepEqual(destination, { namespace: 'shop', workload: '', pod: '', identity: undefined });
  assert.deepEqual([port, service], [80, 'api.shop.svc.cluster.local']);
});

test('the policies of an edge are those that refused or would have, never the one that allowed', () => {
  assert.equal(edgeOfConnection(record({ policy: 'shop/allow', rule: 0 })).policy, '');
  assert.equal(
    edgeOfConnection(record({ policy: 'shop/allow', audited: ['shop/a', 'shop/b'] })).policy,
    'shop/a,shop/b',
  );
  assert.equal(edgeOfConnection(record({ path: 'refused', policy: 'shop/deny' })).policy, 'shop/deny');
});

test('what a policy refuses is no failure, and what fails is not refused', () => {
  const failed = (code: string | undefined, why = ''): boolean =>
    isFailure(record({ path: 'refused', why, ...(code === undefined ? {} : { code }) }));
  assert.equal(failed('WEFT_DENIED'), false);
  assert.equal(failed('WEFT_TUNNEL_REFUSED', 'the peer responded 401 to CONNECT 10.0.0.2:8080'), false);
  assert.equal(failed('WEFT_TUNNEL_REFUSED', 'the peer responded 503 to CONNECT 10.0.0.2:8080'), true);
  assert.equal(failed('WEFT_DESTINATION_UNKNOWN'), false);
  assert.equal(failed('WEFT_DIAL'), true);
  assert.equal(failed(undefined, 'the client left'), true);
  assert.equal(failed('WEFT_OF_A_LATER_VERSION'), false);
});

test("an agent's connections add up by direction, opened, closed, refused, failed and audited", () => {
  const metrics = new MeshMetrics(undefined, [], () => 1_000);
  const inbound = { direction: 'inbound', path: 'inbound-hbone' } as const;
  metrics.apply({ kind: 'opened', record: record({ audited: ['shop/a'] }) });
  metrics.apply({ kind: 'opened', record: record(inbound) });
  metrics.apply({ kind: 'closed', record: record({ ...inbound, bytesSent: 7, bytesReceived: 3 }) });
  metrics.apply({ kind: 'closed', record: record({ path: 'refused', code: 'WEFT_DENIED' }) });
  metrics.apply({ kind: 'closed', record: record({ path: 'refused', code: 'WEFT_DIAL' }) });
  const tally = metrics.relayed.of(record());
  Object.assign(tally, { opened: 4, closed: 3, bytesSent: 5, bytesReceived: 50 });
  const counts = metrics
    .takeEdges()
    .map(({ path, reporter, policy, counts: of }) => [path, reporter, policy, of]);
  const seen = { ...noCounts, lastSeenMs: 1_000 };
  assert.deepEqual(counts, [
    ['hbone', 'source', 'shop/a', { ...seen, connections: 1, audited: 1 }],
    ['inbound-hbone', 'destination', '', { ...seen, connections: 1, bytesSent: 3, bytesReceived: 7 }],
    ['refused', 'source', '', { ...seen, refused: 1, failures: 1 }],
    ['hbone', 'source', '', { ...seen, connections: 4, bytesSent: 5, bytesReceived: 50 }],
  ]);
  assert.deepEqual(metrics.takeEdges(), []);
});
