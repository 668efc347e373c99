/** HTTP servers of a program: metrics, readiness, and the admin endpoint on localhost. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { errorText, WeftError } from '../base/errors.js';
import { FairLimit } from '../base/fair-limit.js';
import { sendLines, type LineStream } from './line-stream.js';
import { acceptsOpenMetrics, openMetricsType } from './openmetrics.js';

export interface Asker {
  /** The client connects from this machine's loopback address or presents the token. It may read names. */
  readonly trusted: boolean;
}

export interface Route {
  readonly contentType: string;
  /** `query`: the parameters of a trusted client; empty for others. */
  readonly read: (asker: Asker, query: URLSearchParams) => Promise<string> | string;
  /** The response in OpenMetrics' format, for trusted clients that accept it. */
  readonly readOpenMetrics?: () => Promise<string>;
  /** HTTP status; 200 if absent. */
  readonly status?: () => number;
  /** On a Unix socket, in place of `read`: a response that goes on. Rejects: it cannot begin. */
  readonly stream?: (query: URLSearchParams) => Promise<LineStream> | LineStream;
}

/** A request that a route does not respond to, by what the client asked for or by a limit. Other errors are the server's own: 500. */
export class RequestRefused extends WeftError {
  constructor(
    readonly status: 400 | 403 | 429,
    code: string,
    message: string,
  ) {
    super(code, message, { retryable: status === 429 });
  }
}

export interface HttpServer {
  readonly port: number;
  close(): Promise<void>;
}

interface ServerOptions {
  /** A client that presents this token (`Authorization: Bearer`) is trusted. Absent or undefined: no token is accepted. */
  readonly token?: () => string | undefined;
}

/** Reads the token from a file at each call, so that a Secret may be created, changed and deleted. Undefined if the file is unreadable. */
export const tokenIn = (file: string | undefined) => (): string | undefined => {
  try {
    return file === undefined ? undefined : readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
};

/** Connections of one port. Each client address gets a share, so that no client can use up the connections and block a readiness probe. */
const connectionsMax = 512;

/** Caches responses for untrusted clients for `forMs`, so that the cost does not grow with the number of their requests. */
export class SharedResponses {
  readonly #made = new Map<Route, { readonly atMs: number; readonly body: Promise<string> }>();

  constructor(private readonly forMs = 1_000) {}

  /** `nowMs`: from a monotonic clock. */
  read(route: Route, nowMs: number): Promise<string> {
    const former = this.#made.get(route);
    if (former && nowMs - former.atMs < this.forMs) return former.body;
    const body = (async () => route.read({ trusted: false }, noQuery))();
    this.#made.set(route, { atMs: nowMs, body });
    return body;
  }
}

const noQuery = new URLSearchParams();

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

function isTrusted(request: http.IncomingMessage, token: string | undefined): boolean {
  const { remoteAddress = '' } = request.socket;
  if (/^(::ffff:)?127\.|^::1$/.test(remoteAddress)) return true;
  const shown = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
  return (
    token !== undefined &&
    token !== '' &&
    shown !== undefined &&
    timingSafeEqual(digest(shown), digest(token))
  );
}

/**
 * Serves fixed paths by GET. With a `host` that is a path (`/…`), on a Unix socket that only this user may open: its clients are trusted.
 * Rejects with WEFT_LISTEN if the server cannot listen, for example because the address is in use.
 */
export async function serveRoutes(
  host: string,
  port: number,
  routes: Readonly<Record<string, Route>>,
  options: ServerOptions = {},
): Promise<HttpServer> {
  const shared = new SharedResponses();
  const isSocket = host.startsWith('/');
  const read = async (route: Route, trusted: boolean, query: string | undefined): Promise<string> =>
    trusted ? route.read({ trusted }, new URLSearchParams(query)) : shared.read(route, performance.now());
  const connections = new FairLimit(connectionsMax);
  // By default Node checks for overdue request heads only every 30 s, however short headersTimeout is.
  const server = http.createServer({ connectionsCheckingInterval: 1_000 }, (request, response) => {
    const trusted = isSocket || isTrusted(request, options.token?.());
    const [path = '', query] = (request.url ?? '').split('?');
    const route = routes[path];
    if (!route || request.method !== 'GET') {
      response
        .writeHead(404, { 'content-type': 'text/plain' })
        .end(`paths: ${Object.keys(routes).join(' ')}\n`);
      return;
    }
    const failed = (error: unknown): unknown =>
      response
        .writeHead(error instanceof RequestRefused ? error.status : 500, { 'content-type': 'text/plain' })
        .end(trusted ? `${errorText(error)}\n` : 'the response could not be generated\n');
    const { stream } = route;
    if (stream && isSocket)
      return void (async () => stream(new URLSearchParams(query)))().then(
        (lines) => (response.destroyed ? lines.close() : void sendLines(response, lines)),
        failed,
      );
    const openMetrics =
      trusted && acceptsOpenMetrics(request.headers.accept) ? route.readOpenMetrics : undefined;
    const contentType = openMetrics ? openMetricsType : route.contentType;
    (openMetrics ? openMetrics() : read(route, trusted, query)).then(
      (body) => response.writeHead(route.status?.() ?? 200, { 'content-type': contentType }).end(body),
      failed,
    );
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  server.on('connection', (socket) => {
    const { remoteAddress = '' } = socket;
    if (connections.take(remoteAddress) !== undefined) return void socket.destroy();
    socket.once('close', () => connections.release(remoteAddress));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new WeftError('WEFT_LISTEN', `cannot listen on ${host} port ${port}: ${errorText(error)}`, {
          cause: error,
        }),
      ),
    );
    if (!isSocket) return void server.listen(port, host, resolve);
    // A socket of a former process that was killed.
    rmSync(host, { force: true });
    const mask = process.umask(0o177);
    server.listen(host, resolve);
    process.umask(mask);
  });
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound ? bound.port : port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
