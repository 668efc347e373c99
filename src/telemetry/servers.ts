/** Small HTTP servers of a program: metrics, readiness, and on localhost the admin endpoint. */
import http from 'node:http';
import { errorText, WeftError } from '../base/errors.js';

export interface Route {
  readonly contentType: string;
  readonly read: () => Promise<string> | string;
  /** 200 where absent. */
  readonly status?: () => number;
}

export interface HttpServer {
  close(): Promise<void>;
}

/** Serves fixed paths by GET. Rejects with WEFT_LISTEN where the address is taken. */
export async function serveRoutes(
  host: string,
  port: number,
  routes: Readonly<Record<string, Route>>,
): Promise<HttpServer> {
  const server = http.createServer((request, response) => {
    const route = routes[(request.url ?? '').split('?')[0] ?? ''];
    if (!route || request.method !== 'GET') {
      response
        .writeHead(404, { 'content-type': 'text/plain' })
        .end(`paths: ${Object.keys(routes).join(' ')}\n`);
      return;
    }
    Promise.resolve()
      .then(() => route.read())
      .then(
        (body) =>
          response.writeHead(route.status?.() ?? 200, { 'content-type': route.contentType }).end(body),
        (error: unknown) =>
          response.writeHead(500, { 'content-type': 'text/plain' }).end(`${errorText(error)}\n`),
      );
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  server.maxConnections = 64;
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
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
