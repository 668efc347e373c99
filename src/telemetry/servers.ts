/** Small HTTP servers of a program: metrics, readiness, and on localhost the admin endpoint. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { errorText, WeftError } from '../base/errors.js';
import { FairLimit } from '../base/fair-limit.js';

export interface Asker {
  /** Of this machine's own loopback address, or with the token: it may read names. */
  readonly trusted: boolean;
}

export interface Route {
  readonly contentType: string;
  readonly read: (asker: Asker) => Promise<string> | string;
  /** 200 where absent. */
  readonly status?: () => number;
}

export interface HttpServer {
  readonly port: number;
  close(): Promise<void>;
}

interface ServerOptions {
  /** Who shows it (`Authorization: Bearer`) is trusted; nobody where absent or undefined. */
  readonly token?: () => string | undefined;
}

/** Reads the file anew each time, so a Secret may come, change and go. Where it cannot be read, nobody has the token. */
export const tokenIn = (file: string | undefined) => (): string | undefined => {
  try {
    return file === undefined ? undefined : readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
};

/** Connections of one port. A readiness probe is one of them: nobody may hold so many that it finds none. */
const connectionsMax = 512;

/** What whoever is not trusted asks for costs the same however often they ask: one response serves all of them for a while. */
export class SharedResponses {
  readonly #made = new Map<Route, { readonly atMs: number; readonly body: Promise<string> }>();

  constructor(private readonly forMs = 1_000) {}

  /** `nowMs`: of a clock that does not jump. */
  read(route: Route, nowMs: number): Promise<string> {
    const former = this.#made.get(route);
    if (former && nowMs - former.atMs < this.forMs) return former.body;
    const body = (async () => route.read({ trusted: false }))();
    this.#made.set(route, { atMs: nowMs, body });
    return body;
  }
}

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

/** Serves fixed paths by GET. Rejects with WEFT_LISTEN where the address is taken. */
export async function serveRoutes(
  host: string,
  port: number,
  routes: Readonly<Record<string, Route>>,
  options: ServerOptions = {},
): Promise<HttpServer> {
  const shared = new SharedResponses();
  const read = async (route: Route, trusted: boolean): Promise<string> =>
    trusted ? route.read({ trusted }) : shared.read(route, performance.now());
  const connections = new FairLimit(connectionsMax);
  // Node looks for late heads every 30 s otherwise, however short their time is.
  const server = http.createServer({ connectionsCheckingInterval: 1_000 }, (request, response) => {
    const trusted = isTrusted(request, options.token?.());
    const route = routes[(request.url ?? '').split('?')[0] ?? ''];
    if (!route || request.method !== 'GET') {
      response
        .writeHead(404, { 'content-type': 'text/plain' })
        .end(`paths: ${Object.keys(routes).join(' ')}\n`);
      return;
    }
    read(route, trusted).then(
      (body) => response.writeHead(route.status?.() ?? 200, { 'content-type': route.contentType }).end(body),
      (error: unknown) =>
        response
          .writeHead(500, { 'content-type': 'text/plain' })
          .end(trusted ? `${errorText(error)}\n` : 'it could not be read\n'),
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
    server.listen(port, host, resolve);
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
