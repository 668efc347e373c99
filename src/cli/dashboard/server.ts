/** Serves the page of `weft dashboard`, and what it asks for. Only reads. */
import http from 'node:http';
import { errorText, WeftError } from '../../base/errors.js';
import { durationMsOf } from '../../model/duration.js';
import { edgesKeptMs } from '../../model/edge.js';
import { refusalOf, responseHeaders } from './access.js';
import type { PageFiles } from './page-files.js';

export interface ApiResponse {
  readonly status: number;
  /** JSON. */
  readonly body: string;
}

/** A server-sent event: `message` if no name is given. */
export interface ServerSentEvent {
  readonly event?: string;
  /** JSON. */
  readonly data: string;
}

/** What the page asks for. Errors are shown to the caller. */
export interface DashboardApi {
  snapshot(sinceMs: number): Promise<string>;
  explain(query: URLSearchParams): Promise<ApiResponse>;
  /** What happens from now on, until `signal` is aborted; a response says why the query cannot be used. */
  tap(query: URLSearchParams, signal: AbortSignal): AsyncIterator<ServerSentEvent> | ApiResponse;
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
/** A client behind a forwarded port is seen to be gone only when something is written to it. */
const aliveMs = 15_000;
const sinceMsMax = 30 * 86_400_000;

export const errorResponse = (status: number, error: string): ApiResponse => ({
  status,
  body: JSON.stringify({ error }),
});

/** Resolves when the client has read what was written, or is gone. */
const drained = (response: http.ServerResponse, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const end = (): void => {
      response.off('drain', end);
      signal.removeEventListener('abort', end);
      resolve();
    };
    response.once('drain', end);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });

/**
 * Writes events until there are no more, or the client is gone. The next one is read once the client has read those before, so that the source
 * loses events for a slow client, and says how many. Rejects if there is no first event; a later failure is an event itself.
 */
async function writeEvents(
  response: http.ServerResponse,
  events: AsyncIterator<ServerSentEvent>,
  signal: AbortSignal,
): Promise<void> {
  let next = await events.next();
  response.writeHead(200, { ...responseHeaders, 'content-type': 'text/event-stream' });
  const alive = setInterval(() => response.write(': alive\n\n'), aliveMs);
  const write = ({ event, data }: ServerSentEvent): boolean =>
    response.write(`${event === undefined ? '' : `event: ${event}\n`}data: ${data}\n\n`);
  try {
    for (; next.done !== true && !signal.aborted; next = await events.next())
      if (!write(next.value)) await drained(response, signal);
  } catch (error) {
    if (!signal.aborted) write({ event: 'failed', data: JSON.stringify({ error: errorText(error) }) });
  } finally {
    clearInterval(alive);
    await events.return?.();
    response.end();
  }
}

/** Rejects with WEFT_LISTEN if the server cannot listen there. */
export async function serveDashboard(options: Options): Promise<DashboardServer> {
  const { host, port, token, files, api } = options;
  const taps = new Set<AbortController>();
  const pages: Readonly<Record<string, readonly [string, string]>> = {
    '/': ['text/html; charset=utf-8', files.html],
    '/page.js': ['text/javascript; charset=utf-8', files.script],
    '/page.css': ['text/css; charset=utf-8', files.style],
  };

  const send = (response: http.ServerResponse, { status, body }: ApiResponse): void => {
    response.writeHead(status, { ...responseHeaders, 'content-type': 'application/json' }).end(body);
  };

  const tap = async (query: URLSearchParams, response: http.ServerResponse): Promise<void> => {
    if (taps.size >= tapsMax)
      return send(response, errorResponse(503, `${tapsMax} taps are open: close one of them`));
    const ending = new AbortController();
    taps.add(ending);
    response.once('close', () => ending.abort());
    try {
      const events = api.tap(query, ending.signal);
      if ('body' in events) send(response, events);
      else await writeEvents(response, events, ending.signal);
    } finally {
      ending.abort();
      taps.delete(ending);
    }
  };

  const respond = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    const url = request.url ?? '';
    if (url.length > urlCharactersMax)
      return send(response, errorResponse(414, `the URL has more than ${urlCharactersMax} characters`));
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
    if (refusal) return send(response, errorResponse(refusal.status, refusal.why));
    const page = pages[path];
    if (page) {
      response.writeHead(200, { ...responseHeaders, 'content-type': page[0] }).end(page[1]);
      return;
    }
    const query = new URLSearchParams(search);
    if (path === '/api/snapshot') {
      const since = query.get('since') ?? undefined;
      const sinceMs = since === undefined ? edgesKeptMs : durationMsOf(since);
      if (sinceMs === undefined || sinceMs > sinceMsMax)
        return send(response, errorResponse(400, 'since is not a duration such as 90s or 15m, up to 720h'));
      return send(response, { status: 200, body: await api.snapshot(sinceMs) });
    }
    if (path === '/api/explain') return send(response, await api.explain(query));
    if (path === '/api/tap' && request.method === 'GET') return tap(query, response);
    send(response, errorResponse(404, 'there is no such path'));
  };

  const server = http.createServer({ connectionsCheckingInterval: 1_000 }, (request, response) => {
    respond(request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else send(response, errorResponse(502, errorText(error)));
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
