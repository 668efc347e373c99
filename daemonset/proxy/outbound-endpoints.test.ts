/**
 * Which endpoint a connection reaches if another cannot be reached: the agent's own code between real sockets on loopback. Only the opening
 * of sockets differs: they are not in a pod's network namespace.
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { startHbone, svidOf } from '../../test/support/hbone.js';
import { id, key, pod, service, workload } from '../../test/support/mesh.js';
import { connectErrorSource } from '../../src/base/connect-error.js';
import { WeftError } from '../../src/base/errors.js';
import { TunnelPool } from '../../src/hbone/pool.js';
import { formatSocketAddress, parseIp, type SocketAddress } from '../../src/model/address.js';
import type { Workload } from '../../src/model/workload.js';
import { MeshState } from '../../src/state/store.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import type { LocalPod } from '../worker-ipc.js';
import { Connections } from './connections.js';
import type { ProxyContext } from './context.js';
import { handleOutbound } from './outbound.js';

const serviceAddress: SocketAddress = { ip: parseIp('10.96.0.1'), port: 80 };
const local = {
  pod: pod('web', '127.0.0.1'),
  netns: { path: '', cookie: 1n },
} as LocalPod;

/** An application or a node at one of loopback's addresses. */
async function listening(
  t: TestContext,
  ip: string,
  port: number,
  serve: (socket: net.Socket) => void,
): Promise<number> {
  const server = net.createServer(serve);
  await new Promise<void>((resolve) => server.listen(port, ip, resolve));
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

const dial = (to: SocketAddress): Promise<net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host: to.ip, port: to.port });
    socket.once('connect', () => resolve(socket.pause()));
    socket.once('error', (error) =>
      reject(new WeftError('WEFT_DIAL', error.message, { source: connectErrorSource(error), cause: error })),
    );
  });

interface Outcome {
  /** The bytes that the client read; undefined if the connection was reset. */
  readonly text: string | undefined;
  /** Whether the pod's next connections to the Service are refused for a moment. */
  readonly remembered: boolean;
  readonly dialed: string[];
  readonly record: ConnectionRecord | undefined;
}

/** A client's connection to a Service with these endpoints, of which the kernel picked the first. */
async function connectTo(
  t: TestContext,
  endpoints: readonly Workload[],
  port: number,
  reach: (to: SocketAddress) => Promise<net.Socket> = dial,
): Promise<Outcome> {
  const view = new MeshState();
  view.apply({
    services: [service('api', '10.96.0.1', port)],
    workloads: endpoints.map((one) => ({
      ...one,
      services: new Map([[key('api'), [{ servicePort: 80, targetPort: port, appProtocol: 'unknown' }]]]),
    })),
  });
  const pool = new TunnelPool();
  t.after(() => pool.close());
  const dialed: string[] = [];
  const records: ConnectionRecord[] = [];
  let remembered = false;
  const picked = { ip: endpoints[0]?.addresses[0] ?? serviceAddress.ip, port };
  const context = {
    node: 'node-1',
    view,
    pool,
    connections: new Connections(100),
    sockets: {
      dialedBy: () => ({ dialed: serviceAddress, picked }),
      dial: (_place: unknown, to: SocketAddress) => {
        dialed.push(formatSocketAddress(to));
        return reach(to);
      },
      rememberFailure: () => (remembered = true),
    },
    localPod: () => undefined,
    svid: () => Promise.resolve(svidOf(id('web'))),
    requestVerdict: () => undefined,
    limitReached: () => undefined,
    opened: (record: ConnectionRecord) => records.push(record),
    closed: (record: ConnectionRecord) => records.push(record),
  } as unknown as ProxyContext;
  const agent = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    void handleOutbound(context, local, socket);
  });
  await new Promise<void>((resolve) => agent.listen(0, '127.0.0.1', resolve));
  t.after(() => agent.close());
  const client = net.connect({ port: (agent.address() as AddressInfo).port, host: '127.0.0.1' });
  const text = await new Promise<string | undefined>((resolve) => {
    client.once('data', (bytes: Buffer) => resolve(bytes.toString()));
    client.once('error', () => resolve(undefined));
    client.once('end', () => resolve(undefined));
  });
  client.destroy();
  return { text, remembered, dialed, record: records[0] };
}

const plain = (i: number): Workload => workload(`api-${i}`, `127.0.0.${i}`, 'node-2', { tunnel: 'none' });
const enrolled = (i: number): Workload =>
  workload(`api-${i}`, `127.0.0.${i}`, 'node-2', { identity: id('api') });

test('an endpoint that refuses is skipped; the failure of the Service is remembered only if no endpoint is left', async (t) => {
  const port = await listening(t, '127.0.0.9', 0, (socket) => void socket.end('good'));
  const one = await connectTo(t, [plain(2), plain(9)], port);
  assert.deepEqual([one.text, one.remembered], ['good', false]);
  const none = await connectTo(t, [plain(2), plain(3)], port);
  assert.deepEqual([none.text, none.remembered, none.dialed.length], [undefined, true, 2]);
  // As many endpoints refuse as one connection tries, and others were not tried.
  const refusing = [2, 3, 4, 5, 6, 7, 8].map(plain);
  const many = await connectTo(t, refusing, port);
  assert.deepEqual([many.text, many.remembered, many.dialed.length], [undefined, false, 3]);
});

test('an endpoint that does not respond in time is skipped', async (t) => {
  const port = await listening(t, '127.0.0.9', 0, (socket) => void socket.end('good'));
  const { text } = await connectTo(t, [plain(2), plain(9)], port, (to) =>
    to.ip === '127.0.0.2'
      ? Promise.reject(new WeftError('WEFT_DIAL_TIMEOUT', 'no response', { source: 'upstream' }))
      : dial(to),
  );
  assert.equal(text, 'good');
});

test('a fault of this node is not an endpoint’s failure: no other endpoint is tried, and the failure is not remembered', async (t) => {
  const fromNowhere = (to: SocketAddress): Promise<net.Socket> =>
    new Promise((_resolve, reject) => {
      // No interface has this address, so the kernel cannot give it to the socket.
      const socket = net.connect({ host: to.ip, port: to.port, localAddress: '192.0.2.1' });
      socket.once('error', (error) =>
        reject(
          new WeftError('WEFT_DIAL', error.message, { source: connectErrorSource(error), cause: error }),
        ),
      );
    });
  const own = await connectTo(t, [plain(2), plain(9)], 80, fromNowhere);
  assert.deepEqual([own.text, own.remembered, own.dialed.length], [undefined, false, 1]);
  assert.match(own.record?.why ?? '', /EADDRNOTAVAIL/);
});

test('a node that cannot reach its application is skipped; a refusal by policy is final', async (t) => {
  const good = await startHbone(t, id('api'), (tunnel) => tunnel.accept().end('good'));
  const refusing = async (status: number): Promise<Outcome> => {
    const bad = await startHbone(t, id('api'), (tunnel) => tunnel.refuse(status));
    return connectTo(t, [enrolled(2), enrolled(9)], 8080, (to) =>
      dial({ ip: parseIp('127.0.0.1'), port: to.ip === '127.0.0.2' ? bad.port : good.port }),
    );
  };
  const unreachable = await refusing(503);
  assert.deepEqual([unreachable.text, unreachable.remembered], ['good', false]);
  const denied = await refusing(401);
  assert.deepEqual([denied.text, denied.remembered, denied.dialed.length], [undefined, false, 1]);
  assert.equal(denied.record?.code, 'WEFT_TUNNEL_REFUSED');
});
