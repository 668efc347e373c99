/** The Unix socket for the CNI plugin's requests. Only root can reach it: its directory is closed to others. */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import { dirname } from 'node:path';
import { errorText } from '../../src/base/errors.js';
import { decodeRequest, requestBytesMax, type AddRequest, type Reply } from './protocol.js';

const connectionsMax = 256;
const readMsMax = 5_000;

export interface CniServerOptions {
  readonly path: string;
  readonly onAdd: (request: AddRequest) => Promise<Reply>;
}

/** Listens at `path`. `close` stops listening, `end` closes the open connections. Rejects if it cannot listen. */
export async function serveCni({ path, onAdd }: CniServerOptions): Promise<{ close(): void; end(): void }> {
  mkdirSync(dirname(path), { recursive: true });
  chmodSync(dirname(path), 0o700);
  // A previous agent process may have left its socket.
  rmSync(path, { force: true });
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    let text = '';
    let hasRequest = false;
    const reply = (value: Reply): void => void socket.end(`${JSON.stringify(value)}\n`);
    socket.setEncoding('utf8');
    socket.setTimeout(readMsMax, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('data', (part: string) => {
      if (hasRequest) return;
      text += part;
      if (text.length > requestBytesMax) return void socket.destroy();
      const end = text.indexOf('\n');
      if (end < 0) return;
      hasRequest = true;
      socket.setTimeout(0);
      const request = decodeRequest(text.slice(0, end));
      if (!request) return reply({ ok: false, message: 'the request cannot be read' });
      onAdd(request).then(reply, (error: unknown) => reply({ ok: false, message: errorText(error) }));
    });
  });
  server.maxConnections = connectionsMax;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return {
    close: () => {
      server.close();
      rmSync(path, { force: true });
    },
    /** Waiting plugins see the end of their connection. */
    end: () => sockets.forEach((socket) => socket.destroy()),
  };
}
