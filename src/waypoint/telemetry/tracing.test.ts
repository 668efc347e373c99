import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { InMemorySpanExporter } from '@opentelemetry/sdk-trace-base';
import type { RequestHead } from '../http/http-stream.js';
import { headerOf, type Headers } from '../http/headers.js';
import type { RequestRecord } from './request-record.js';
import { Tracing } from './tracing.js';

const options = { endpoint: 'http://127.0.0.1:1/v1/traces', serviceName: 'waypoint', namespace: 'shop' };
const head = (headers: Headers = []): RequestHead => ({
  method: 'GET',
  path: '/a',
  authority: 'echo',
  scheme: 'http',
  headers,
});
const traceId = '0af7651916cd43dd8448eb211c80319c';

test('continues a client’s trace, by W3C and by B3, and is the parent of the endpoint’s spans', async () => {
  const exporter = new InMemorySpanExporter();
  const tracing = new Tracing({ ...options, sampling: 0 }, exporter);
  const w3c = head(['traceparent', `00-${traceId}-b7ad6b7169203331-01`]);
  tracing.begin(w3c).end();
  assert.match(headerOf(w3c.headers, 'traceparent') ?? '', new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
  assert.doesNotMatch(headerOf(w3c.headers, 'traceparent') ?? '', /b7ad6b7169203331/);
  assert.equal(headerOf(w3c.headers, 'x-b3-traceid'), undefined);

  const single = head(['b3', `${traceId}-b7ad6b7169203331-1`]);
  tracing.begin(single).end();
  assert.match(headerOf(single.headers, 'b3') ?? '', new RegExp(`^${traceId}-[0-9a-f]{16}-1`));

  const multi = head(['x-b3-traceid', traceId, 'x-b3-spanid', 'b7ad6b7169203331', 'x-b3-sampled', '1']);
  tracing.begin(multi).end();
  assert.equal(headerOf(multi.headers, 'x-b3-traceid'), traceId);
  assert.notEqual(headerOf(multi.headers, 'x-b3-spanid'), 'b7ad6b7169203331');
  await tracing.close();
});

test('a client’s sampling decision is kept; without one the share decides', async () => {
  const none = new Tracing({ ...options, sampling: 1 }, new InMemorySpanExporter());
  const unsampled = head(['traceparent', `00-${traceId}-b7ad6b7169203331-00`]);
  assert.equal(none.begin(unsampled).isRecording(), false);
  assert.match(headerOf(unsampled.headers, 'traceparent') ?? '', /-00$/);
  assert.equal(none.begin(head()).isRecording(), true);
  await none.close();
  const never = new Tracing({ ...options, sampling: 0 }, new InMemorySpanExporter());
  assert.equal(never.begin(head()).isRecording(), false);
  // A malformed header is ignored, and is no error.
  assert.equal(never.begin(head(['traceparent', 'nonsense'])).isRecording(), false);
  await never.close();
});

test('sends spans by OTLP over HTTP, and ends without a collector', async () => {
  const bodies: Buffer[] = [];
  const collector = http
    .createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        bodies.push(Buffer.concat(chunks));
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      });
    })
    .listen(0, '127.0.0.1');
  await new Promise((resolve) => collector.once('listening', resolve));
  const { port } = collector.address() as AddressInfo;
  const tracing = new Tracing({ ...options, endpoint: `http://127.0.0.1:${port}/v1/traces`, sampling: 1 });
  tracing.begin(head()).end();
  await tracing.close();
  collector.closeAllConnections();
  collector.close();
  assert.equal(bodies.length, 1);
  assert.ok(bodies[0]?.includes('url.path'));
});

test('only a trace that is sampled is named in exemplars and log records', async () => {
  const record = {
    client: { address: { ip: '10.0.0.1', port: 1 } },
    status: 200,
  } as unknown as RequestRecord;
  const tracing = new Tracing({ ...options, sampling: 0 }, new InMemorySpanExporter());
  const sampled = tracing.begin(head(['traceparent', `00-${traceId}-b7ad6b7169203331-01`]));
  const ids = tracing.end(sampled, record);
  assert.equal(ids?.traceId, traceId);
  assert.match(ids.spanId, /^[0-9a-f]{16}$/);
  assert.equal(tracing.end(tracing.begin(head()), record), undefined);
  await tracing.close();
});
