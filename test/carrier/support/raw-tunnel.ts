/**
 * HBONE peers whose frames a test writes itself, in the network namespace of a testbed's pod, with certificates of the testbed's own
 * authority.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { listenIn, socketIn } from '../../../native/index.js';
import { until } from '../../../src/base/wait.js';
import { HpackDecoder } from '../../../src/http2/hpack/decoder.js';
import type { SpiffeId } from '../../../src/model/identity.js';
import type { Testbed } from '../../../src/cli/standalone/testbed.js';
import type { Svid } from '../../../src/tls/svid.js';
import { contextOptions } from '../../../src/tls/contexts.js';
import { svidOf } from '../../support/hbone.js';
import { id } from '../../support/mesh.js';
import {
  block,
  endHeaders,
  frame,
  framesOf,
  frameType,
  preface,
  settings,
  settingsAck,
} from '../../support/http2-frames.js';

export function svidOfTestbed(testbed: Testbed, account: string, ttlS = 3600): Svid {
  const file = (name: string): string => readFileSync(join(testbed.controlState(), name), 'utf8');
  const identity: SpiffeId = id(account);
  return svidOf(identity, ttlS, { keyPem: file('ca-key.pem'), certPem: file('ca-cert.pem') });
}

const pathOf = (netns: string): string => `/run/netns/${netns}`;

/** A TCP connection from within a network namespace. */
export async function connectFrom(netns: string, ip: string, port: number): Promise<net.Socket> {
  const fd = socketIn(pathOf(netns), ip.includes(':') ? 6 : 4);
  const socket = new net.Socket({ fd, manualStart: true, allowHalfOpen: true } as net.SocketConstructorOpts);
  socket.connect({ host: ip, port });
  await once(socket, 'connect');
  socket.setNoDelay(true);
  return socket;
}

interface Got {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** One HTTP/2 connection: sends what it is told to, acknowledges SETTINGS and PING, and keeps what it gets. */
export class RawTunnel {
  readonly frames: Got[] = [];
  /** Bytes of DATA by stream. */
  readonly data = new Map<number, Buffer[]>();
  /** Decoded header fields by stream. */
  readonly heads = new Map<number, readonly string[]>();
  isClosed = false;
  readonly #decoder = new HpackDecoder(4096);
  /** False: SETTINGS and PING are not acknowledged. */
  acknowledges = true;
  #rest: Buffer = Buffer.alloc(0);
  #prefaceBytes: number;

  constructor(
    readonly socket: tls.TLSSocket,
    role: 'client' | 'server',
  ) {
    this.#prefaceBytes = role === 'server' ? preface.length : 0;
    socket.on('data', (bytes: Buffer) => this.#read(bytes));
    socket.on('error', () => undefined);
    socket.on('end', () => (this.isClosed = true));
    socket.on('close', () => (this.isClosed = true));
    this.send(...(role === 'client' ? [preface, settings] : [settings]));
  }

  send(...frames: readonly Buffer[]): void {
    if (!this.socket.destroyed && this.socket.writable) this.socket.write(Buffer.concat(frames));
  }

  connect(stream: number, authority: string, ...more: readonly (readonly [string, string])[]): void {
    const fields = block([':method', 'CONNECT'], [':authority', authority], ...more);
    this.send(frame(frameType.headers, endHeaders, stream, fields));
  }
  write(stream: number, bytes: Buffer | string, isEnd = false): void {
    this.send(frame(frameType.data, isEnd ? 1 : 0, stream, Buffer.from(bytes)));
  }

  #read(bytes: Buffer): void {
    bytes = Buffer.concat([this.#rest, bytes]);
    if (this.#prefaceBytes > 0) {
      if (bytes.length < this.#prefaceBytes) return void (this.#rest = bytes);
      bytes = bytes.subarray(this.#prefaceBytes);
      this.#prefaceBytes = 0;
    }
    for (const one of framesOf(bytes)) {
      bytes = bytes.subarray(9 + one.payload.length);
      this.frames.push(one);
      if (one.type === frameType.data)
        this.data.set(one.stream, [...(this.data.get(one.stream) ?? []), one.payload]);
      // Neither side needs CONTINUATION for its few fields.
      if (one.type === frameType.headers) {
        const fields: string[] = [];
        this.#decoder.decode(one.payload, fields, { headerListBytesMax: 65_536, headerFieldsMax: 100 });
        this.heads.set(one.stream, fields);
      }
      const isAck = (one.flags & 1) === 1;
      if (!this.acknowledges || isAck) continue;
      if (one.type === frameType.settings) this.send(settingsAck);
      if (one.type === frameType.ping) this.send(frame(frameType.ping, 1, 0, one.payload));
    }
    this.#rest = bytes;
  }

  received(stream: number): Buffer {
    return Buffer.concat(this.data.get(stream) ?? []);
  }
  find(type: number, stream: number): Got | undefined {
    return this.frames.find((one) => one.type === type && one.stream === stream);
  }
  has(type: number, stream: number): boolean {
    return this.find(type, stream) !== undefined;
  }
  async status(stream: number): Promise<number> {
    const fields = await until(`a response on stream ${stream}`, 15_000, () => {
      if (this.isClosed) throw new Error(`the connection ended before a response on stream ${stream}`);
      return this.heads.get(stream);
    });
    return Number(fields[fields.indexOf(':status') + 1]);
  }
  ended(stream: number): boolean {
    return this.frames.some(
      ({ type, flags, stream: of }) => of === stream && type <= frameType.headers && (flags & 1) === 1,
    );
  }
  close(): void {
    this.socket.destroy();
  }
}

/** Response 200 on a stream. */
export const accept = (stream: number): Buffer =>
  frame(frameType.headers, endHeaders, stream, Buffer.from([0x88]));

/** Streams of the CONNECT requests of a connection, as they came. */
export const requestsOf = (tunnel: RawTunnel): number[] =>
  tunnel.frames.filter(({ type }) => type === frameType.headers).map(({ stream }) => stream);

/** A client's connection to port 15008 of a pod. */
export async function openTunnel(
  netns: string,
  ip: string,
  svid: Svid,
  more: tls.ConnectionOptions = {},
): Promise<RawTunnel> {
  const socket = tls.connect({
    ...contextOptions(svid),
    socket: await connectFrom(netns, ip, 15008),
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
    ...more,
  });
  await once(socket, 'secureConnect');
  return new RawTunnel(socket, 'client');
}

/** Serves port 15008 in a network namespace, in the place of a node. */
export function serveTunnels(
  netns: string,
  svid: Svid,
  onTunnel: (tunnel: RawTunnel) => void,
): { close(): void } {
  const server = tls.createServer(
    { ...contextOptions(svid), requestCert: true, rejectUnauthorized: true, ALPNProtocols: ['h2'] },
    (socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      onTunnel(new RawTunnel(socket, 'server'));
    },
  );
  const sockets = new Set<tls.TLSSocket>();
  server.on('tlsClientError', () => undefined);
  server.listen({ fd: listenIn(pathOf(netns), '::', 15008) });
  return {
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
