import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startReceiver } from '../../../test/support/otlp-receiver.js';
import { until } from '../../base/wait.js';
import type { ConnectionRecord } from '../connection-record.js';
import { connectionEntry } from './connection-entry.js';
import { otlpUrl } from './load.js';
import { LogExport, type LogEntry } from './log-export.js';

const program = { service: 'weft-agent', namespace: 'weft-system', instance: 'node-a' };
const party = (pod: string, address: string) => ({
  address,
  identity: `spiffe://cluster.local/ns/shop/sa/${pod}`,
  namespace: 'shop',
  workload: pod,
  canonicalName: pod,
  canonicalRevision: 'latest',
  pod,
});
const record: ConnectionRecord = {
  direction: 'outbound',
  path: 'refused',
  why: 'a policy denies it',
  code: 'WEFT_DENIED',
  source: party('web', '[fd00::1]:40000'),
  destination: party('api', '10.0.0.2:8080'),
  policy: 'shop/no-web',
  rule: 0,
  bytesSent: 1,
  bytesReceived: 2,
  durationMs: 3,
  ended: 'refused',
};
const entry = (more: Partial<LogEntry> = {}): LogEntry => ({
  ...connectionEntry(record, 1_700_000_000_000),
  ...more,
});

test('a collector gets connections as log records with attributes, and the trace if there is one', async (t) => {
  const { url, received } = await startReceiver(t);
  let lost = 0;
  const logs = new LogExport({ url: url('/v1/logs'), program, onLost: (count) => (lost += count) });
  const trace = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8) };
  logs.add('shop/web', () => entry());
  logs.add('shop/web', () => entry({ trace }));
  await logs.close();
  const [first, second] = received.logs;
  assert.equal(first?.event, 'weft.connection');
  assert.equal(first.body, 'connection refused: a policy denies it');
  assert.equal(first.severity, 13);
  assert.equal(first.resource['service.instance.id'], 'node-a');
  assert.equal(first.traceId, undefined);
  for (const [name, value] of Object.entries({
    'source.address': 'fd00::1',
    'source.port': 40000,
    'destination.address': '10.0.0.2',
    'destination.port': 8080,
    'weft.source.identity': 'spiffe://cluster.local/ns/shop/sa/web',
    'error.type': 'WEFT_DENIED',
    'weft.policy': 'shop/no-web',
    'weft.path': 'refused',
  }))
    assert.equal(first.attributes[name], value, name);
  assert.deepEqual({ traceId: second?.traceId, spanId: second?.spanId }, trace);
  assert.equal(lost, 0);
});

test('a connection to a waypoint has the address that was dialed, and that of the waypoint', () => {
  const { attributes } = connectionEntry({ ...record, waypoint: '10.0.0.9:15008' }, 1_700_000_000_000);
  assert.deepEqual(
    [attributes['destination.address'], attributes['weft.waypoint']],
    ['10.0.0.2', '10.0.0.9:15008'],
  );
});

test('records beyond a pod’s share of the queue are lost and counted, without being made; other pods have their own share', async (t) => {
  const { url, received, state } = await startReceiver(t);
  state.status = 400;
  let lost = 0;
  let made = 0;
  const logs = new LogExport({
    url: url('/v1/logs'),
    program,
    onLost: (count) => (lost += count),
    waitingMax: 10,
  });
  const make = (): LogEntry => {
    made++;
    return entry();
  };
  for (let i = 0; i < 25; i++) logs.add('shop/web', make);
  assert.deepEqual([made, lost], [5, 20]);
  logs.add('shop/api', make);
  assert.deepEqual([made, lost], [6, 20]);
  await until('the records that the collector refused are counted', 30_000, () => lost === 26);
  // The queue has room again, and the collector accepts.
  state.status = 200;
  logs.add('shop/web', make);
  await logs.close();
  assert.equal(received.logs.length, 1);
  assert.equal(lost, 26);
});

test('the URL of a collector has no credentials, which others would see on the command line', () => {
  assert.equal(otlpUrl('https://collector:4318/v1/logs'), 'https://collector:4318/v1/logs');
  for (const url of ['http://user:secret@collector/v1/logs', 'collector:4318', 'file:///etc/passwd', ''])
    assert.throws(() => otlpUrl(url), url);
});
