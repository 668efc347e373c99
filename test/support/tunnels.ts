/** HBONE tunnels between a client and a server in this process, with the send buffer sizes of the agent's sockets. */
import net from 'node:net';
import { once } from 'node:events';
import { after } from 'node:test';
import { sendBuffer } from '../../native/index.js';
import { defaultLimits, type HboneLimits } from '../../src/hbone/limits.js';
import { TunnelPool, type TunnelRequest } from '../../src/hbone/pool.js';
import { HboneServer, type InboundTunnel, type Refused } from '../../src/hbone/server.js';
import { parseIp } from '../../src/model/address.js';
import { svidOf } from './hbone.js';
import { domain, id } from './mesh.js';

const cleanups: (() => void)[] = [];
after(() => cleanups.forEach((call) => call()));

export async function listen(
  onConnection: (socket: net.Socket) => void,
  pauseOnConnect = true,
): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect }, onConnection);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

interface TunnelTestbed {
  readonly port: number;
  readonly server: HboneServer;
  readonly refused: Refused[];
  readonly request: (more?: Partial<TunnelRequest>) => TunnelRequest;
}

export async function tunnelTestbed(
  onTunnel: (tunnel: InboundTunnel) => void,
  limits: Partial<HboneLimits> = {},
  svid = svidOf(id('db')),
): Promise<TunnelTestbed> {
  const refused: Refused[] = [];
  const server = new HboneServer({
    svid,
    trustDomain: domain,
    limits,
    onTunnel,
    onRefused: (r) => refused.push(r),
  });
  cleanups.push(() => server.close());
  const port = await listen((socket) => {
    roomy(socket);
    server.handle(socket);
  });
  const client = svidOf(id('web'));
  return {
    port,
    server,
    refused,
    request: (more = {}) => ({
      svid: client,
      expected: [id('db')],
      destination: { ip: parseIp('127.0.0.1'), port },
      authority: '10.0.0.1:80',
      source: 'pod',
      headers: {},
      connect: () =>
        new Promise((resolve, reject) => {
          const socket = net.connect(port, '127.0.0.1', () => resolve(roomy(socket)));
          socket.once('error', reject);
        }),
      ...more,
    }),
  };
}

/** Socket options of the agent: see daemonset/pod/sockets.ts. */
function roomy(socket: net.Socket): net.Socket {
  const { fd } = (socket as net.Socket & { _handle: { fd: number } })._handle;
  sendBuffer(fd, defaultLimits.connectionWindowBytes);
  return socket;
}

export const echo = (tunnel: InboundTunnel): void => {
  const stream = tunnel.accept();
  stream.on('error', () => undefined);
  stream.pipe(stream);
};

export async function collect(stream: NodeJS.ReadableStream): Promise<Buffer> {
  // Not by async iteration, which destroys a half-open socket at its end.
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(stream, 'end');
  return Buffer.concat(chunks);
}

export function pool(limits: Partial<HboneLimits> = {}): TunnelPool {
  const made = new TunnelPool(limits);
  cleanups.push(() => made.close());
  return made;
}
