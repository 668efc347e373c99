/**
 * An OTLP/HTTP receiver. In a test's own process by `startReceiver`; as a program in a network namespace it appends each request to a file:
 *
 *   node otlp-receiver.js PORT FILE
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { decodeLogs, decodeMetrics, type ReceivedLog, type ReceivedMetric } from './otlp-messages.js';

interface Received {
  readonly metrics: ReceivedMetric[];
  readonly logs: ReceivedLog[];
  /** Requests so far, by path. */
  readonly paths: string[];
}

/** `status`: of each response. */
function serve(onRequest: (path: string, body: Buffer) => void, status: () => number): http.Server {
  return http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      const plain = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
      if (status() === 200) onRequest(request.url ?? '', plain);
      response.writeHead(status(), { 'content-type': 'application/x-protobuf' }).end();
    });
  });
}

function keep(into: Received, path: string, body: Buffer): void {
  into.paths.push(path);
  if (path.startsWith('/v1/metrics')) into.metrics.push(...decodeMetrics(body));
  if (path.startsWith('/v1/logs')) into.logs.push(...decodeLogs(body));
}

export async function startReceiver(t: TestContext) {
  const received: Received = { metrics: [], logs: [], paths: [] };
  const state = { status: 200 };
  const server = serve(
    (path, body) => keep(received, path, body),
    () => state.status,
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { url: (path: string) => `http://127.0.0.1:${port}${path}`, received, state };
}

/** What a receiver in a network namespace has written. */
export function receivedIn(file: string): Received {
  const received: Received = { metrics: [], logs: [], paths: [] };
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  // The last line may be half-written.
  for (const line of lines.slice(0, -1)) {
    const [path = '', body = ''] = line.split(' ');
    keep(received, path, Buffer.from(body, 'base64'));
  }
  return received;
}

if (process.argv[1] && import.meta.url === `file://${process.argv[1]}`) {
  const [, , port = '4318', file = '/dev/null'] = process.argv;
  serve(
    (path, body) => appendFileSync(file, `${path} ${body.toString('base64')}\n`),
    () => 200,
  ).listen(Number(port));
}
