/**
 * The application of the demo: responds to HTTP/1.1, HTTP/2 and gRPC on one port, and reports the request that it received.
 *
 *   node echo.js NAME PORT
 *
 * Paths: /status/503 responds with this status. /flaky/KEY/2 responds with 503 twice per KEY, then with 200. /slow/500 waits this
 * many ms. /drip sends a byte per second. /fail-at/NAME responds with 500 if the application has this name. /seen responds with the number of
 * requests so far, by path. Every other path responds with 200. gRPC: every method echoes its message. The trailer
 * `served-by` has the name, and `seen-x-set` has the request header `x-set`.
 */
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';

const [name = 'echo', port = '8080'] = process.argv.slice(2);
const failures = new Map<string, number>();
/** Requests so far, by path without its query. */
const counts = new Map<string, number>();
const countsMax = 1_000;

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly version: string;
  readonly peer: string;
}
type Answer = (status: number, body: string) => void;

function answer({ method, path, headers, version, peer }: Seen, body: string, reply: Answer): void {
  const [plain = ''] = path.split('?');
  const [, word, first = '', second = ''] = plain.split('/');
  if (word === 'seen') {
    reply(200, `${JSON.stringify(Object.fromEntries(counts))}\n`);
    return;
  }
  if (counts.size < countsMax || counts.has(plain)) counts.set(plain, (counts.get(plain) ?? 0) + 1);
  const shown = Object.fromEntries(Object.entries(headers).filter(([key]) => !key.startsWith(':')));
  const text = `${JSON.stringify({ pod: name, method, path, version, peer, headers: shown, body: body.slice(0, 4096) })}\n`;
  if (word === 'status') reply(Number(first) || 200, text);
  else if (word === 'flaky') {
    const before = failures.get(first) ?? 0;
    failures.set(first, before + 1);
    reply(before < Number(second) ? 503 : 200, text);
  } else if (word === 'slow') setTimeout(() => reply(200, text), Number(first)).unref();
  else if (word === 'fail-at') reply(first === name ? 500 : 200, text);
  else reply(200, text);
}

function read(stream: NodeJS.ReadableStream, done: (body: Buffer) => void): void {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('end', () => done(Buffer.concat(chunks)));
  stream.on('error', () => undefined);
}

const one = http.createServer((request, response) => {
  read(request, (body) => {
    const seen = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      version: 'HTTP/1.1',
      peer: request.socket.remoteAddress ?? '',
    };
    if (seen.path === '/drip') {
      response.writeHead(200, { 'content-type': 'text/plain' });
      const timer = setInterval(() => response.write('.'), 1_000);
      response.on('close', () => clearInterval(timer));
      return;
    }
    answer(seen, body.toString('latin1'), (status, text) => {
      response.writeHead(status, { 'content-type': 'application/json', 'x-served-by': name });
      response.end(text);
    });
  });
});
one.keepAliveTimeout = 60_000;
one.on('upgrade', (_request, socket: net.Socket) => {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\nx-served-by: ${name}\r\n\r\n`,
  );
  socket.pipe(socket);
  socket.on('error', () => undefined);
});

const two = http2.createServer();
two.on('stream', (stream, headers) => {
  stream.on('error', () => undefined);
  if (headers['content-type']?.startsWith('application/grpc') === true) {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () =>
      stream.sendTrailers({
        'grpc-status': '0',
        'served-by': name,
        'seen-x-set': String(headers['x-set'] ?? ''),
      }),
    );
    // Echoes each message as it arrives, so that a bidirectional stream gets responses while it is open.
    stream.on('data', (bytes: Buffer) => stream.write(bytes));
    stream.on('end', () => stream.end());
    return;
  }
  read(stream, (body) =>
    answer(
      {
        method: String(headers[':method']),
        path: String(headers[':path']),
        headers: headers as http.IncomingHttpHeaders,
        version: 'HTTP/2',
        peer: stream.session?.socket.remoteAddress ?? '',
      },
      body.toString('latin1'),
      (status, text) => {
        if (stream.destroyed) return;
        stream.respond({ ':status': status, 'content-type': 'application/json', 'x-served-by': name });
        stream.end(text);
      },
    ),
  );
});
two.on('sessionError', () => undefined);

net
  .createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (first: Buffer) => {
      socket.pause();
      socket.unshift(first);
      // The HTTP/2 server reads the bytes that are already buffered in the socket.
      if (first.toString('latin1', 0, 3) === 'PRI') two.emit('connection', socket);
      else {
        one.emit('connection', socket);
        socket.resume();
      }
    });
  })
  .listen({ port: Number(port), host: '::' });
