/** Servers and clients of the HTTP/2 engine, with limits of tests. */
import type net from 'node:net';
import { Duplex } from 'node:stream';
import { createConnection } from '../../src/http2/connection.js';
import type { ConnectionListener, ConnectionOptions, Http2Connection } from '../../src/http2/http2.js';
import { SocketTransport } from '../../src/http2/socket-transport.js';

export function engineOptions(
  role: 'client' | 'server',
  changes: Partial<ConnectionOptions> = {},
): ConnectionOptions {
  return {
    role,
    maxConcurrentStreams: 100,
    streamWindowBytes: 65_535,
    connectionWindowBytes: 1 << 20,
    frameBytesMax: 16_384,
    headerListBytesMax: 65_536,
    headerFieldsMax: 200,
    backlogBytesMax: 65_536,
    settingsTimeoutMsMax: 0,
    headerBlockTimeoutMsMax: 0,
    ...changes,
  };
}

export function engineOn(
  socket: Duplex,
  listener: ConnectionListener,
  role: 'client' | 'server',
  changes: Partial<ConnectionOptions> = {},
): Http2Connection {
  return createConnection(new SocketTransport(socket), engineOptions(role, changes), listener);
}

/** Listens on loopback. */
export async function listen(server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as net.AddressInfo).port;
}

/** Two ends of a connection in memory. What one end writes, the other reads in a later turn of the event loop. */
export function duplexPair(): [Duplex, Duplex] {
  class End extends Duplex {
    peer!: End;
    #resume: (() => void) | undefined;

    override _read(): void {
      const resume = this.#resume;
      this.#resume = undefined;
      resume?.();
    }
    override _write(bytes: Buffer, _encoding: BufferEncoding, done: () => void): void {
      const { peer } = this;
      if (peer.destroyed) return void setImmediate(done);
      if (peer.push(bytes)) setImmediate(done);
      else peer.#resume = () => setImmediate(done);
    }
    override _final(done: () => void): void {
      if (!this.peer.destroyed) this.peer.push(null);
      setImmediate(done);
    }
    override _destroy(error: Error | null, done: (error: Error | null) => void): void {
      const { peer } = this;
      if (!peer.destroyed) setImmediate(() => peer.destroy());
      const resume = peer.#resume;
      peer.#resume = undefined;
      resume?.();
      done(error);
    }
  }
  const [a, b] = [new End(), new End()];
  [a.peer, b.peer] = [b, a];
  return [a, b];
}

/** Lets the event loop turn. */
export async function turns(count: number): Promise<void> {
  for (; count > 0; count--) await new Promise((resolve) => setImmediate(resolve));
}
