import assert from 'node:assert/strict';
import net, { type AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { relay } from '../../src/hbone/relay.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { ConnectionRecord, Opening } from '../../src/telemetry/connection-record.js';
import { Connections } from './connections.js';
import type { ProxyContext } from './context.js';
import { TrackedConnection } from './tracked-connection.js';

/** Both ends of a connection on loopback. */
async function pair(t: TestContext): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const client = net.connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  client.on('error', () => undefined);
  t.after(() => {
    client.destroy();
    server.close();
  });
  return [client, await accepted];
}

test('the record of a relayed connection that policy closes has the reason', async (t) => {
  const connections = new Connections(10);
  let onClosed = (record: ConnectionRecord): void => assert.fail(record.ended);
  const closed = new Promise<ConnectionRecord>((resolve) => (onClosed = resolve));
  const context = {
    connections,
    limitReached: () => undefined,
    opened: () => undefined,
    closed: (record: ConnectionRecord) => onClosed(record),
  } as unknown as ProxyContext;
  const [, pod] = await pair(t);
  const [, peer] = await pair(t);
  peer.on('error', () => undefined);
  const track = TrackedConnection.begin(context, pod, 'p' as WorkloadUid);
  assert.ok(track);
  track.follow({ path: 'local' } as Opening, relay(pod, peer));
  track.cut('policy no-api forbids it');
  const { path, ended } = await closed;
  assert.deepEqual([path, ended, connections.size], ['local', 'cut: policy no-api forbids it', 0]);
});
