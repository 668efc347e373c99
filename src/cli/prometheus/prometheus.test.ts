import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { randomOf } from '../../../test/support/random.js';
import { edgeStates } from '../../telemetry/observed/edge-states.js';
import { statistics } from '../../telemetry/observed/statistics.js';
import { askPrometheus, prometheusLimits, prometheusServer } from './client.js';
import { decodeAnswer, type Sample } from './decode.js';
import { edgesOf } from './edges.js';
import { observePrometheus } from './observe.js';
import { prometheusUrl } from './options.js';
import { queryOf, type Counted } from './queries.js';
import { policyEdges, policyQuery, refusedEdges } from './refusals.js';

const closers: (() => void)[] = [];
after(() => closers.forEach((close) => close()));

/** An HTTP server on loopback that responds as told: what Prometheus itself does is tested in test/observe. */
async function responding(respond: http.RequestListener): Promise<string> {
  const server = http.createServer(respond);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => (server.closeAllConnections(), server.close()));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const vector = (...result: unknown[]): string =>
  JSON.stringify({ status: 'success', data: { resultType: 'vector', result } });

test('samples are decoded; what has not the form is left out and counted', () => {
  const good = { metric: { a: 'b' }, value: [1, '2.5'] };
  const bad = [
    null,
    {},
    { metric: { a: 1 }, value: [1, '2'] },
    { metric: {}, value: [1, 2] },
    { metric: {}, value: [1, 'NaN'] },
    { metric: {}, value: [1, '-3'] },
    { metric: {}, value: [1, '+Inf'] },
  ];
  const answer = decodeAnswer(vector(good, ...bad));
  assert.equal(answer.kind, 'vector');
  if (answer.kind !== 'vector') return;
  assert.deepEqual([answer.samples.length, answer.undecodable], [1, bad.length]);
  assert.deepEqual([answer.samples[0]?.value, { ...answer.samples[0]?.labels }], [2.5, { a: 'b' }]);
});

test('no response makes the decoder throw, whatever it is', () => {
  const random = randomOf(7);
  const text = vector({ metric: { __proto__: 'x', reporter: 'source' }, value: [1, '2'] });
  const values = [
    '',
    'null',
    '[]',
    '{}',
    '1',
    '"x"',
    '{"status":"success"}',
    '{"status":"success","data":{"result":[1]}}',
  ];
  for (const one of values) assert.equal(decodeAnswer(one).kind, 'error', one);
  for (let i = 0; i < 3_000; i++) {
    const at = random(text.length);
    const change = String.fromCharCode(32 + random(95));
    decodeAnswer(text.slice(0, at) + (random(2) === 0 ? change : '') + text.slice(at + random(3)));
  }
  assert.deepEqual(decodeAnswer('{"status":"error","error":"too many samples"}'), {
    kind: 'error',
    why: 'too many samples',
  });
});

const ends = {
  source_workload: 'web',
  source_workload_namespace: 'shop',
  source_principal: 'spiffe://cluster.local/ns/shop/sa/web',
  destination_workload: 'api',
  destination_workload_namespace: 'shop',
  destination_principal: 'spiffe://cluster.local/ns/shop/sa/api',
  destination_service: 'api.shop.svc.cluster.local',
};
const sample = (labels: Sample['labels'], value: number): Sample => ({
  labels: { ...ends, ...labels },
  value,
});
const none: Record<Counted, readonly Sample[]> = {
  requests: [],
  latencies: [],
  opened: [],
  bytesSent: [],
  bytesReceived: [],
};

test('requests become edges of a waypoint, with failures, refusals and latencies', () => {
  const labels = { reporter: 'waypoint', connection_security_policy: 'mutual_tls', response_flags: '-' };
  const bucket = (le: string, value: number): Sample => sample({ ...labels, le }, value);
  const edges = edgesOf({
    ...none,
    requests: [
      sample({ ...labels, response_code: '200' }, 6.2),
      sample({ ...labels, response_code: '200', grpc_response_status: '14' }, 1),
      sample({ ...labels, response_code: '503' }, 1),
      sample({ ...labels, response_code: '403', response_flags: 'RBAC' }, 2),
    ],
    latencies: [bucket('5', 0), bucket('10', 8), bucket('25', 7.9), bucket('+Inf', 8), bucket('7', 3)],
  });
  const [state, ...more] = edgeStates(edges, 0, 1_000_000).sort((a, b) => b.requests - a.requests);
  assert.deepEqual(more, []);
  assert.deepEqual(
    [
      state?.source,
      state?.destination,
      state?.path,
      state?.security,
      state?.requests,
      state?.refused,
      state?.failures,
    ],
    ['shop/web', 'shop/api', 'waypoint', 'mutual-tls', 10, 2, 2],
  );
  assert.deepEqual([state?.successShare, state?.latencyMs?.p50, state?.lastSeenMs], [0.75, 7.5, 0]);
});

test('connections of both sides become one; the path is what metrics tell of it', () => {
  const opened = (reporter: string, security: string, value: number, more = {}): Sample =>
    sample({ reporter, connection_security_policy: security, response_flags: '-', ...more }, value);
  const nobody = {
    source_workload: 'unknown',
    source_workload_namespace: 'unknown',
    source_principal: 'unknown',
  };
  const edges = edgesOf({
    ...none,
    opened: [
      opened('source', 'mutual_tls', 3),
      opened('destination', 'mutual_tls', 3),
      opened('source', 'same_node', 2),
      opened('destination', 'unknown', 1, nobody),
      opened('someone', 'mutual_tls', 50),
    ],
    bytesSent: [opened('source', 'mutual_tls', 100)],
  });
  assert.deepEqual(
    edgeStates(edges, 0, 1_000).map(({ source, path, connections, bytesSent }) => [
      source,
      path,
      connections,
      bytesSent,
    ]),
    [
      ['shop/web', 'hbone', 3, 100],
      ['shop/web', 'local', 2, 0],
      ['unknown', 'plain', 1, 0],
    ],
  );
});

test('a refused connection is between the workloads of its identities, if they are known, with the policy', () => {
  const principals = {
    source_principal: ends.source_principal,
    destination_principal: ends.destination_principal,
  };
  const stranger = { ...principals, source_principal: 'spiffe://cluster.local/ns/bank/sa/teller' };
  const refused = (labels: Sample['labels'], value: number): Sample => ({ labels, value });
  const edges = edgesOf({
    ...none,
    opened: [sample({ reporter: 'source', connection_security_policy: 'mutual_tls' }, 2)],
  });
  const more = refusedEdges(
    [
      refused({ ...principals, code: 'WEFT_DENIED', policy: 'shop/p' }, 3),
      refused({ ...stranger, code: 'WEFT_DENIED', policy: 'shop/p' }, 4),
      refused({ ...principals, code: 'WEFT_DIAL', policy: '' }, 5),
      refused({ source_principal: 'unknown', destination_principal: 'unknown', code: 'WEFT_DENIED' }, 0.2),
    ],
    edges,
  );
  const states = edgeStates([...edges, ...more], 0, 1_000).filter(({ path }) => path === 'refused');
  assert.deepEqual(
    states.map((one) => [one.source, one.destination, one.refused, one.failures, one.policies]),
    [
      ['shop/web', 'shop/api', 3, 5, ['shop/p']],
      ['spiffe://cluster.local/ns/bank/sa/teller', 'shop/api', 4, 0, ['shop/p']],
    ],
  );
});

test('policies have what they refused and would have refused, each once', () => {
  const of = (what: 'refused' | 'audited', count: number) =>
    policyEdges(what, [{ labels: { policy: 'shop/p' }, value: count }]);
  const found = statistics([...of('refused', 3.2), ...of('audited', 2)], {
    by: 'policies',
    fromMs: 0,
    nowMs: 1,
  });
  assert.deepEqual(
    found.map(({ policy, refused, audited }) => [policy, refused, audited]),
    [['shop/p', 3, 2]],
  );
  assert.match(policyQuery('refused', 60, 'a.b"'), /policy=~"\(\.\* \)\?a\\\\\.b\\\\\\"\/\.\*"/);
});

test('a namespace cannot leave its place in a query', () => {
  assert.match(
    queryOf('opened', 3600, 'a"} or up{x="'),
    /source_workload_namespace="a\\"\} or up\{x=\\""\}\[3600s\]/,
  );
});

test('the control plane is asked for what it keeps, Prometheus beyond that or if the command names it', () => {
  const environment = { WEFT_PROMETHEUS_URL: 'http://p' };
  assert.equal(prometheusUrl({ since: 900_000 }, environment), undefined);
  assert.equal(prometheusUrl({ since: 900_001 }, environment), 'http://p');
  assert.equal(prometheusUrl({ since: 3_600_000 }, {}), undefined);
  assert.equal(prometheusUrl({ since: 60_000, prometheus: 'http://q' }, environment), 'http://q');
});

const ask = (url: string, token?: string) =>
  askPrometheus({ url: new URL(url), ...(token === undefined ? {} : { token }) }, 'query', { query: 'up' });

test('errors say what to do; a token goes to no other server', async () => {
  const other = await responding((_, response) => response.end(vector()));
  const seen: unknown[] = [];
  const url = await responding((request, response) => {
    seen.push(request.headers.authorization, request.url);
    if (request.url?.startsWith('/moved')) response.writeHead(307, { location: other }).end();
    else if (request.url?.startsWith('/gone')) response.writeHead(404).end('404 page not found');
    else if (request.url?.startsWith('/bad'))
      response.writeHead(422).end('{"status":"error","error":"too many \\u001b[2Jsamples"}');
    else if (request.url?.startsWith('/page')) response.end('<html>');
    else if (request.headers.authorization === 'Bearer right') response.end(vector());
    else response.writeHead(401).end('Unauthorized');
  });
  const rejects = (path: string, message: RegExp) =>
    assert.rejects(ask(`${url}${path}`), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'WEFT_PROMETHEUS');
      assert.match(error.message, message);
      return true;
    });
  await rejects('/', /status 401: give a token .* --prometheus-token-file/);
  await rejects('/moved/', /does not respond/);
  await rejects('/gone', /is http:.*\/gone the URL of Prometheus/);
  await rejects('/bad', /responded 422: too many \?\[2Jsamples$/);
  await rejects('/page', /responded 200: this is no response of a Prometheus/);
  await assert.rejects(
    ask('http://127.0.0.1:4'),
    /Prometheus at http:\/\/127\.0\.0\.1:4 does not respond: .*ECONNREFUSED/,
  );
  seen.length = 0;
  assert.equal((await ask(`${url}/prefix/`, 'right')).kind, 'vector');
  assert.deepEqual(seen, ['Bearer right', '/prefix/api/v1/query']);
});

test('a response beyond the limit is not read to its end', async () => {
  const chunk = 'x'.repeat(1 << 20);
  const url = await responding((_, response) => {
    let sent = 0;
    const more = (): void => {
      while (sent < 4 * prometheusLimits.answerBytes && !response.destroyed) {
        sent += chunk.length;
        if (!response.write(chunk)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  });
  await assert.rejects(ask(url), /larger than 64 MiB: ask for less with -n/);
});

test('a URL or token file that cannot be used is refused before anything is sent', () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-prometheus-'));
  closers.push(() => rmSync(dir, { recursive: true }));
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  for (const url of ['prometheus:9090', 'file:///etc/passwd', 'nonsense', 'http://user:secret@host'])
    assert.throws(() => prometheusServer(url, undefined), { code: 'WEFT_PROMETHEUS' });
  assert.throws(() => prometheusServer('https://p', join(dir, 'absent')), /cannot be read/);
  assert.throws(() => prometheusServer('https://p', file('empty', '\n')), /no bearer token/);
  assert.throws(() => prometheusServer('https://p', file('two', 'a\nx-header: b')), /no bearer token/);
  const good = file('good', 'abc\n');
  assert.throws(() => prometheusServer('http://p', good), /unencrypted: use https/);
  assert.throws(() => prometheusServer('http://127.0.0.1.example', good), /unencrypted/);
  for (const url of ['https://p', 'http://127.0.0.1:9090', 'http://[::1]:9090', 'http://localhost:9090'])
    assert.equal(prometheusServer(url, good).token, 'abc');
});

test('since when Prometheus knows the mesh is found to a second, and a server that makes up times ends it', async () => {
  const times = (...seconds: number[]): string =>
    JSON.stringify({
      status: 'success',
      data: { resultType: 'matrix', result: [{ metric: {}, values: seconds.map((one) => [one, '1']) }] },
    });
  const beganS = 5_000;
  let made: number | undefined;
  const url = await responding((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => (body += part.toString()));
    request.on('end', () => {
      const of = new URLSearchParams(body);
      if (request.url?.endsWith('/query')) return void response.end(vector());
      const [start, end, step] = ['start', 'end', 'step'].map((name) => Number(of.get(name))) as [
        number,
        number,
        number,
      ];
      const points: number[] = [];
      for (let at = start; at <= end; at += step) if (at >= beganS) points.push(at);
      response.end(made === undefined ? times(...points) : times(made));
    });
  });
  const observe = () => observePrometheus({ url: new URL(url) }, { sinceMs: 0 }, 86_400_000);
  const { observedSinceMs, rated } = await observe();
  assert.ok(Math.abs(observedSinceMs - beganS * 1_000) <= 2_000, String(observedSinceMs));
  assert.equal(rated?.fromMs, observedSinceMs);
  for (made of [-1e9, 1e15, 40_000]) assert.ok((await observe()).observedSinceMs <= 86_400_000);
});
