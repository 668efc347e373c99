/** A server for tests of the page: the built page under its strict content security policy, and answers that a test sets. */
import { readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { contentSecurityPolicy } from '../../src/cli/dashboard/access.js';
import type { MeshSnapshot } from '../../src/model/mesh-snapshot.js';
import { projectRoot } from '../../native/index.js';

const dir = join(projectRoot, 'dist', 'src', 'dashboard', 'page');
const types: Readonly<Record<string, readonly [string, string]>> = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/page.js': ['page.js', 'text/javascript; charset=utf-8'],
  '/page.css': ['page.css', 'text/css; charset=utf-8'],
};

export interface PageServer {
  readonly url: string;
  /** What `/api/snapshot` answers. */
  snapshot: MeshSnapshot;
  /** What `/api/explain` answers. */
  explanation: { readonly status: number; readonly body: unknown };
  /** Queries of `/api/explain` and of `/api/tap`. */
  readonly asked: string[];
  /** Sends to all taps. */
  sendTap(data: unknown, event?: string): void;
  close(): Promise<void>;
  /** Again on the same port. */
  open(): Promise<void>;
}

export async function servePage(first: MeshSnapshot): Promise<PageServer> {
  const taps = new Set<http.ServerResponse>();
  let port = 0;
  let server: http.Server | undefined;
  const asked: string[] = [];
  const page: PageServer = {
    get url() {
      return `http://127.0.0.1:${port}/`;
    },
    snapshot: first,
    explanation: { status: 200, body: {} },
    asked,
    sendTap(data, event) {
      for (const response of taps)
        response.write(`${event === undefined ? '' : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`);
    },
    close: () =>
      new Promise((resolve) => {
        server?.close(() => resolve());
        server?.closeAllConnections();
        taps.clear();
      }),
    async open() {
      const opened = http.createServer(respond);
      server = opened;
      await new Promise<void>((resolve) => opened.listen(port, '127.0.0.1', resolve));
      port = (opened.address() as AddressInfo).port;
    },
  };
  function respond(request: http.IncomingMessage, response: http.ServerResponse): void {
    const [path = '', query = ''] = (request.url ?? '').split('?', 2);
    response.setHeader('content-security-policy', contentSecurityPolicy);
    const file = types[path];
    if (file) {
      response.writeHead(200, { 'content-type': file[1] }).end(readFileSync(join(dir, file[0])));
    } else if (path === '/api/snapshot') {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(page.snapshot));
    } else if (path === '/api/explain') {
      asked.push(query);
      response
        .writeHead(page.explanation.status, { 'content-type': 'application/json' })
        .end(JSON.stringify(page.explanation.body));
    } else if (path === '/api/tap') {
      asked.push(query);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': open\n\n');
      taps.add(response);
      response.once('close', () => taps.delete(response));
    } else response.writeHead(404).end();
  }
  await page.open();
  return page;
}
