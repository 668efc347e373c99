/** Servers that respond before they have read the upload, and clients that read what an application could read from a kernel socket. */
import { once } from 'node:events';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { keepReadable } from '../../src/hbone/stream-end.js';

export const sizes = [10_000, 200_000, 5_000_000] as const;
export const repetitions = 40;

export const early = (body = 'too large\n', more = 'Connection: close\r\n'): string =>
  `HTTP/1.1 413 Payload Too Large\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`;

/** `at once`: closes right after its response, with or without unread bytes; `unread`: closes once the upload fills its receive queue. */
export type Close = 'at once' | 'unread';

/** Responds once a request head is complete, reads nothing more, and closes. */
export async function earlyServer(
  t: { after(call: () => void): void },
  close: Close,
  response = early(),
): Promise<number> {
  return listening(t, (socket) => {
    let head = '';
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => {
      if (head.includes('\r\n\r\n')) return;
      head += bytes.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      socket.pause();
      socket.write(response, () => {
        if (close === 'at once') socket.destroy();
        else setTimeout(() => socket.destroy(), 5);
      });
    });
  });
}

export async function listening(
  t: { after(call: () => void): void },
  onSocket: (socket: net.Socket) => void,
  pauseOnConnect = false,
): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect }, onSocket);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A connection to loopback with the socket options of the agent. */
export const dialed = (port: number): Promise<net.Socket> =>
  new Promise((resolve, reject) => {
    const options = { port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true };
    const socket = net.connect(options, () => resolve(socket));
    socket.once('error', reject);
  });

interface Uploaded {
  readonly text: string;
  readonly ended: 'end' | 'reset';
}

/** Uploads a number of bytes and reads until the connection ends or the response `isWhole`. `readAfterMs`: reading starts only then. */
export function upload(
  port: number,
  bytes: number,
  { readAfterMs = 0, path = '/', isWhole = (_text: string): boolean => false } = {},
): Promise<Uploaded> {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    // A kernel socket stays readable after a failed write; plain Node.js destroys the stream.
    const end = keepReadable(socket);
    let text = '';
    let isEnd = false;
    const block = Buffer.alloc(1 << 16, 'u');
    let sent = 0;
    const more = (): void => {
      while (sent < bytes && !socket.destroyed) {
        const piece = block.subarray(0, Math.min(block.length, bytes - sent));
        sent += piece.length;
        if (!socket.write(piece)) return;
      }
    };
    socket.on('error', () => undefined);
    socket.on('connect', () => {
      socket.write(`POST ${path} HTTP/1.1\r\nHost: api.shop\r\nContent-Length: ${bytes}\r\n\r\n`);
      more();
    });
    socket.on('drain', more);
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
      if (isWhole(text)) socket.destroy();
    });
    socket.on('end', () => {
      isEnd = !end.wasReset;
      socket.destroy();
    });
    socket.on('close', () => resolve({ text, ended: isEnd ? 'end' : 'reset' }));
    if (readAfterMs > 0) {
      socket.pause();
      setTimeout(() => socket.resume(), readAfterMs);
    }
  });
}

/** Counts how often each outcome occurred. */
export async function outcomes(
  times: number,
  once: () => Promise<string>,
): Promise<Readonly<Record<string, number>>> {
  const seen: Record<string, number> = {};
  for (let i = 0; i < times; i++) {
    const outcome = await once();
    seen[outcome] = (seen[outcome] ?? 0) + 1;
  }
  return seen;
}
