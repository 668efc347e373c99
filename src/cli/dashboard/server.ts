/** Serves the page of `weft dashboard`, and what it asks for. Only reads. */
import http from 'node:http';
import { errorText, WeftError } from '../../base/errors.js';
import { durationMsOf } from '../../model/duration.js';
import { refusalOf, responseHeaders } from './access.js';
import type { PageFiles } from './page-files.js';

export interface Answer {
  readonly status: number;
  /** JSON. */
  readonly body: string;
}

/** Writes server-sent events to a client. */
export interface EventWriter {
  /** False: the client reads too slowly, and the event was not sent. */
  send(data: string, event?: string): boolean;
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal;
}

/** What the page asks for. Errors are shown to the caller. */
export interface DashboardApi {
  snapshot(sinceMs: number): Promise<string>;
  explain(query: URLSearchParams): Promise<Answer>;
  /** Undefined: there is no tap, with the answer that says why. Resolves when the tap has ended. */
  tap(query: URLSearchParams): ((writer: EventWriter) => Promise<void>) | Answer;
}

interface Options {
  readonly host: string;
  readonly port: number;
  readonly token: string;
  readonly files: PageFiles;
  readonly api: DashboardApi;
}
export interface DashboardServer {
  readonly port: number;
  close(): Promise<void>;
}

/** A browser needs a few; each of its taps one more. */
const connectionsMax = 64;
const tapsMax = 8;
const urlCharactersMax = 8_192;
/** Of a client that does not read. */
const waitingBytesMax = 1 << 20;
/** A client behind a forwarded port is seen to be gone only when something is written to it. */
const aliveMs = 15_000;
const sinceMsDefault = 900_000;
const sinceMsMax = 30 * 86_400_000;

export const errorAnswer = (status: number, error: string): Answer => ({
  status,
  body: JSON.stringify({ error }),
});

/** Rejects with WEFT_LISTEN if the server cannot listen there. */
export async function serveDashboard(options: Options): Promise<DashboardServer> {
  const { host, port, token, files, api } = options;
  const taps = new Set<AbortController>();
  const pages: Readonly<Record<string, readonly [string, string]>> = {
    '/': ['text/html; charset=utf-8', files.html],
    '/page.js': ['text/javascript; charset=utf-8', files.script],
    '/page.css': ['text/css; charset=utf-8', files.style],
  };

  const answer = (response: http.ServerResponse, { status, body }: Answer): void => {
    response.writeHead(status, { ...responseHeaders, 'content-type': 'application/json' }).end(body);
  };

  const tap = async (query: URLSearchParams, response: http.ServerResponse): Promise<void> => {
    if (taps.size >= tapsMax)
      return answer(response, errorAnswer(503, `${tapsMax} taps are open: close one of them`));
    const started = api.tap(query);
    if (typeof started !== 'function') return answer(response, started);
    const ending = new AbortController();
    taps.add(ending);
    response.once('close', () => ending.abort());
    response.writeHead(200, { ...responseHeaders, 'content-type': 'text/event-stream' });
    response.write(': open\n\n');
    const alive = setInterval(() => response.write(': alive\n\n'), aliveMs);
    let lost = 0;
    const write = (data: string, event?: string): void => {
      response.write(`${event === undefined ? '' : `event: ${event}\n`}data: ${data}\n\n`);
    };
    const send = (data: string, event?: string): boolean => {
      if (response.writableLength > waitingBytesMax) {
        lost++;
        return false;
      }
      if (lost > 0) write(JSON.stringify({ count: lost }), 'lost');
      lost = 0;
      write(data, event);
      return true;
    };
    try {
      await started({ send, signal: ending.signal });
    } catch (error) {
      if (!ending.signal.aborted) write(JSON.stringify({ error: errorText(error) }), 'failed');
    } finally {
      clearInterval(alive);
      taps.delete(ending);
      response.end();
    }
  };

  const respond = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    const url = request.url ?? '';
    if (url.length > urlCharactersMax) return answer(response, errorAnswer(414, 'the URL is too long'));
    const [path = '', search] = url.split('?', 2);
    const { host: asked, authorization, 'sec-fetch-site': site } = request.headers;
    const refusal = refusalOf(
      {
        method: request.method ?? '',
        path,
        host: asked,
        authorization,
        fetchSite: Array.isArray(site) ? site.join() : site,
      },
      token,
    );
    if (refusal) return answer(response, errorAnswer(refusal.status, refusal.why));
    const page = pages[path];
    if (page) {
      response.writeHead(200, { ...responseHeaders, 'content-type': page[0] }).end(page[1]);
      return;
    }
    const query = new URLSearchParams(search);
    if (path === '/api/snapshot') {
      const since = query.get('since') ?? undefined;
      const sinceMs = since === undefined ? sinceMsDefault : durationMsOf(since);
      if (sinceMs === undefined || sinceMs > sinceMsMax)
        return answer(response, errorAnswer(400, 'since is not a duration such as 90s or 15m'));
      return answer(response, { status: 200, body: await api.snapshot(sinceMs) });
    }
    if (path === '/api/explain') return answer(response, await api.explain(query));
    if (path === '/api/tap') return tap(query, response);
    answer(response, errorAnswer(404, 'there is no such path'));
  };

  const server = http.createServer({ connectionsCheckingInterval: 1_000 }, (request, response) => {
    respond(request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else answer(response, errorAnswer(502, errorText(error)));
    });
  });
  server.maxConnections = connectionsMax;
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
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
        for (const one of taps) one.abort();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
