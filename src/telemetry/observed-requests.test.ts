import assert from 'node:assert/strict';
import { test } from 'node:test';
import { latencyBoundsMs } from '../model/edge.js';
import type { Opening } from './connection-record.js';
import type { HttpObservation } from './http-observation.js';
import { MeshMetrics } from './metrics.js';
import { templatesMax } from './path-templates.js';
import { sumOf } from './request-sums.js';

const side = (name: string, namespace: string): Opening['source'] => ({
  address: name === 'web' ? '10.0.0.1:40000' : '10.0.0.2:8080',
  identity: `spiffe://cluster.local/ns/${namespace}/sa/${name}`,
  namespace,
  workload: name,
  canonicalName: name,
  canonicalRevision: 'latest',
  pod: `${name}-1`,
});
const opening = (more: Partial<Opening> = {}): Opening => ({
  direction: 'outbound',
  path: 'kernel',
  why: 'same-node-verdict',
  source: side('web', 'shop'),
  destination: side('api', 'shop'),
  dialled: '10.96.0.1:80',
  service: 'api.shop.svc.cluster.local',
  ...more,
});
const request = (more: Partial<HttpObservation> = {}): HttpObservation => ({
  method: 'GET',
  pathTemplate: '/orders/*',
  status: 200,
  durationMs: 3,
  ...more,
});
const bench = (): MeshMetrics => new MeshMetrics(undefined, [], () => 1_000);

test('requests of one edge are added up by method and template, with failures and latencies', () => {
  const metrics = bench();
  for (const status of [200, 404, 503, 0]) metrics.observed(opening(), request({ status }));
  metrics.observed(opening(), request({ method: 'POST', durationMs: 1e9 }));
  const [get, post, ...rest] = metrics.takeEdges();
  assert.equal(rest.length, 0);
  assert.deepEqual(
    [get?.method, get?.pathTemplate, get?.path, get?.reporter],
    ['GET', '/orders/*', 'kernel', 'source'],
  );
  assert.deepEqual([get?.counts.requests, get?.counts.failures, get?.counts.connections], [4, 2, 0]);
  assert.equal(get?.counts.latencyCounts[2], 4, 'within 5 ms');
  assert.equal(post?.counts.latencyCounts[latencyBoundsMs.length], 1);
});

test('the metrics have the labels of the requests of a mesh, by reporter and status', async () => {
  const metrics = bench();
  metrics.observed(opening(), request());
  metrics.observed(opening({ direction: 'inbound' }), request({ status: 503 }));
  const text = await metrics.text();
  const line = (reporter: string): string =>
    text.split('\n').find((one) => one.startsWith(`istio_requests_total{reporter="${reporter}"`)) ?? '';
  for (const part of [
    'response_code="200"',
    'destination_service_name="api"',
    'request_protocol="http"',
    'destination_service_namespace="shop"',
    'source_workload="web"',
    'connection_security_policy="same_node"',
  ])
    assert.ok(line('source').includes(part), part);
  assert.ok(line('destination').includes('response_code="503"'));
  assert.match(text, /istio_request_duration_milliseconds_bucket\{reporter="source".*le="5"\} 1/);
  assert.match(text, /istio_request_duration_milliseconds_sum\{reporter="source".*\} 3/);
});

test('a gRPC call has the protocol, the status and the failures that a waypoint reports', async () => {
  const metrics = bench();
  for (const status of ['0', '5', '14', 'invalid', ''])
    metrics.observed(opening(), request({ method: 'POST', grpc: { status, isCut: false } }));
  metrics.observed(opening(), request({ method: 'POST', grpc: { status: '', isCut: true } }));
  const [edge, ...rest] = metrics.takeEdges();
  assert.equal(rest.length, 0);
  assert.deepEqual(
    [edge?.counts.requests, edge?.counts.failures],
    [6, 2],
    'UNAVAILABLE, and the one that was cut',
  );
  const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith('istio_requests_total{'));
  assert.ok(
    lines.every((line) => line.includes('request_protocol="grpc"') && line.endsWith(' 1')),
    lines.join('\n'),
  );
  const has = (...labels: readonly string[]): number =>
    lines.filter((line) => labels.every((label) => line.includes(label))).length;
  assert.equal(has('grpc_response_status="14"', 'response_flags="-"'), 1);
  assert.equal(has('grpc_response_status="invalid"', 'response_flags="-"'), 1);
  assert.equal(has('grpc_response_status=""', 'response_flags="DC"'), 1);
});

test('a connection to a waypoint is not observed: the waypoint reports its requests', async () => {
  const metrics = bench();
  metrics.observed(opening({ why: 'destination-has-waypoint', path: 'hbone' }), request());
  assert.deepEqual(metrics.takeEdges(), []);
  assert.doesNotMatch(await metrics.text(), /istio_requests_total\{/);
});

test('what pods sent is bounded: methods, paths, statuses, templates', () => {
  const metrics = bench();
  metrics.observed(
    opening(),
    request({ method: 'X'.repeat(9999), pathTemplate: `/a/${'9'.repeat(9999)}?token=s`, status: 7777 }),
  );
  const [edge] = metrics.takeEdges();
  assert.deepEqual([edge?.method, edge?.pathTemplate, edge?.counts.failures], ['other', '/a/*', 1]);
  const word = (i: number): string => [...String(i)].map((digit) => 'abcdefghij'[Number(digit)]).join('');
  for (let i = 0; i < 1_000; i++) metrics.observed(opening(), request({ pathTemplate: `/${word(i)}` }));
  // Another namespace has its own templates.
  metrics.observed(opening({ source: side('web', 'other-ns') }), request({ pathTemplate: '/mine' }));
  const edges = metrics.takeEdges();
  assert.ok(edges.length <= templatesMax + 2, `${edges.length} edges`);
  assert.ok(
    edges.some(({ pathTemplate, source }) => source.namespace === 'other-ns' && pathTemplate === '/mine'),
  );
  assert.equal(
    edges.reduce((sum, { counts }) => sum + counts.requests, 0),
    1_001,
  );
});

test('a template whose end was cut stays as it is, and no other path gets past the rule', () => {
  const name = (template: string): string | undefined => {
    const metrics = bench();
    metrics.observed(opening(), request({ pathTemplate: template }));
    return metrics.takeEdges()[0]?.pathTemplate;
  };
  for (const template of ['/orders/items/**', '/a/*/**', '/a/b/c/d/e/f/g/h/**', '/orders/*', '**'])
    assert.equal(name(template), template);
  assert.equal(name('/a/4711/**'), '/a/*/**');
  assert.equal(name('/a/b/c/d/e/f/g/h/i/**'), '/a/b/c/d/e/f/g/h/**');
  assert.equal(name('4711/**'), '**');
});

test('a sum of requests counts as its parts do', () => {
  const [one, sum] = [bench(), bench()];
  for (let i = 0; i < 5; i++) one.observed(opening(), request({ durationMs: 7 }));
  const { latencyCounts, ...rest } = sumOf(request(), [7]);
  sum.observedMany(opening(), {
    ...rest,
    count: 5,
    durationSumMs: 35,
    latencyCounts: latencyCounts.map((n) => 5 * n),
  });
  assert.deepEqual(sum.takeEdges(), one.takeEdges());
});

test('a flood of label sets by one pair of namespaces leaves room for those of others', async () => {
  const metrics = bench();
  for (let i = 0; i < 5_000; i++)
    metrics.observed(opening({ source: { ...side('web', 'evil'), workload: `w${i}` } }), request());
  metrics.observed(opening(), request());
  const text = await metrics.text();
  assert.match(text, /istio_requests_total\{.*source_workload_namespace="shop"/);
  assert.match(text, /istio_requests_total\{reporter="source",source_workload="other"/);
});
