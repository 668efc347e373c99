/** The client in a pod: sends HTTP/1.1 or gRPC requests and reports the responses. */
import assert from 'node:assert/strict';
import { until } from '../../../src/base/wait.js';
import { kubectl } from '../../support/cluster.js';

interface Ask {
  readonly url: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly count?: number;
  /** gRPC instead of HTTP/1.1: the path is that of a method. */
  readonly grpc?: boolean;
  /** Duration instead of a count: each request follows the response before. */
  readonly ms?: number;
  /** On keep-alive connections. */
  readonly keepAlive?: boolean;
}
export interface ClientResponse {
  /** Absent if there was no response. */
  readonly status?: number;
  readonly error?: string;
  /** The pod that has served the request, if the response is the application's. */
  readonly pod?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Request headers that the application received. */
  readonly seen?: Readonly<Record<string, string>>;
  readonly atMs: number;
}
/** Program of the client's pod: sends requests and prints the responses as JSON. */
const client = `
const { url, method = 'GET', headers = {}, count = 1, ms = 0, grpc, keepAlive = false } = JSON.parse(process.argv[1]);
const http = require('http'), http2 = require('http2');
const agent = keepAlive ? new http.Agent({ keepAlive: true, maxSockets: 1 }) : false;
const plain = () => new Promise((done) => {
  const call = http.request(url, { method, headers, agent, timeout: 15000 }, (a) => {
    let text = '';
    a.on('data', (d) => (text += d));
    a.on('error', (e) => done({ error: e.message }));
    a.on('end', () => {
      let body = {};
      try { body = JSON.parse(text); } catch {}
      done({ status: a.statusCode, headers: a.headers, pod: body.pod, seen: body.headers });
    });
  });
  call.on('timeout', () => call.destroy(new Error('timeout')));
  call.on('error', (e) => done({ error: e.message }));
  call.end();
});
const remote = () => new Promise((done) => {
  const at = new URL(url);
  const session = http2.connect(at.origin);
  const end = (answer) => { session.destroy(); done(answer); };
  session.on('error', (e) => end({ error: e.message }));
  const stream = session.request({ ':method': 'POST', ':path': at.pathname, 'content-type': 'application/grpc', te: 'trailers', ...headers });
  let found = {};
  stream.on('response', (h) => { found = { ...h }; });
  stream.on('trailers', (h) => { found = { ...found, ...h }; });
  stream.on('error', (e) => end({ error: e.message }));
  stream.on('end', () => end({ status: Number(found['grpc-status']), headers: found, pod: found['served-by'] }));
  stream.resume();
  stream.end(Buffer.from([0, 0, 0, 0, 1, 7]));
});
(async () => {
  const answers = [], until = Date.now() + ms;
  while (ms > 0 ? Date.now() < until : answers.length < count) answers.push({ ...(await (grpc ? remote() : plain())), atMs: Date.now() });
  process.stdout.write(JSON.stringify(answers), () => process.exit());
})();`;
export async function askAll(who: string, ask: Ask): Promise<readonly ClientResponse[]> {
  const [namespace = '', name = ''] = who.split('/');
  return JSON.parse(
    await kubectl('-n', namespace, 'exec', `deploy/${name}`, '--', 'node', '-e', client, JSON.stringify(ask)),
  ) as ClientResponse[];
}
export async function ask(who: string, url: string, more: Omit<Ask, 'url'> = {}): Promise<ClientResponse> {
  const [answer] = await askAll(who, { url, ...more });
  assert.ok(answer);
  return answer;
}
/** Sends requests until `isSo` accepts the response: an applied object takes a moment to be in force. */
export async function askUntil(
  what: string,
  isSo: (answer: ClientResponse) => boolean,
  ...args: Parameters<typeof ask>
): Promise<ClientResponse> {
  let last: ClientResponse | undefined;
  return until(what, 20_000, async () => {
    last = await ask(...args);
    return isSo(last) && last;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
  });
}
export const viaWaypoint = ({ seen }: ClientResponse): boolean =>
  seen?.['x-forwarded-client-cert']?.includes('URI=spiffe://') === true;
