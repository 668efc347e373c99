import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { parseIp } from '../../model/address.js';
import { otherName } from '../../model/edge.js';
import { identity, workload } from '../../../test/support/mesh.js';
import { MeshState } from '../../state/store.js';
import { Endpoint } from '../cluster/endpoint.js';
import { clientOf } from '../listener/client.js';
import { templatesMax } from '../../telemetry/path-templates.js';
import { RequestEdges } from './edges.js';
import type { RequestRecord } from './request-record.js';

const api = workload('api', '10.0.0.2', 'n1');
const web = workload('web', '10.0.0.1', 'n1');
const endpoint = new Endpoint({
  workload: api,
  target: { ip: parseIp('10.0.0.2'), port: 8080 },
  protocol: 'http1',
  via: undefined,
} as unknown as ConstructorParameters<typeof Endpoint>[0]);
const state = new MeshState();
state.apply({ workloads: [api, web] });

const request = (more: Partial<RequestRecord> = {}): RequestRecord => ({
  client: clientOf(identity('shop', 'web'), { ip: parseIp('10.0.0.1'), port: 1 }),
  service: 'api.shop.svc.cluster.local',
  serviceName: 'api',
  serviceNamespace: 'shop',
  port: 80,
  method: 'GET',
  authority: 'api',
  path: '/orders/17?x=1',
  version: 'HTTP/1.1',
  protocol: 'http',
  status: 200,
  grpcStatus: undefined,
  flag: undefined,
  code: undefined,
  why: undefined,
  route: undefined,
  endpoint,
  attempts: 1,
  attemptsBefore: 0,
  policy: undefined,
  rule: undefined,
  audited: [],
  actions: [],
  bytesReceived: 10,
  bytesSent: 20,
  startedMs: 0,
  durationMs: 3,
  ...more,
});

function bench() {
  const limits: string[] = [];
  const edges = new RequestEdges(
    () => state,
    (limit) => limits.push(limit),
  );
  return { edges, limits };
}

test('requests add up by method and path template, with names, bytes and latency', () => {
  const { edges } = bench();
  edges.record(request());
  edges.record(request({ path: '/orders/18', durationMs: 70_000 }));
  edges.record(request({ path: '/orders', method: 'POST' }));
  const [orders, posted, ...others] = edges.take(9);
  assert.deepEqual(others, []);
  assert.deepEqual(
    [orders?.source.workload, orders?.source.pod, orders?.source.identity, orders?.destination.workload],
    ['web', web.name, identity('shop', 'web'), 'api'],
  );
  assert.deepEqual(
    [orders?.method, orders?.pathTemplate, orders?.port, orders?.reporter, orders?.path],
    ['GET', '/orders/*', 8080, 'waypoint', 'waypoint'],
  );
  const { requests, bytesSent, bytesReceived, latencyCounts, lastSeenMs } = orders?.counts ?? {};
  assert.deepEqual([requests, bytesSent, bytesReceived, lastSeenMs], [2, 20, 40, 9]);
  assert.deepEqual([latencyCounts?.[2], latencyCounts?.at(-1)], [1, 1]);
  assert.deepEqual([posted?.method, posted?.pathTemplate], ['POST', '/orders']);
  assert.deepEqual(edges.take(10), []);
  edges.record(request());
  assert.equal(edges.take(11)[0]?.counts.requests, 1);
});

test('a client whose address belongs to a workload of another identity is named by its certificate alone', () => {
  const { edges } = bench();
  edges.record(request({ client: clientOf(identity('evil', 'x'), { ip: parseIp('10.0.0.1'), port: 1 }) }));
  assert.deepEqual(edges.take(1)[0]?.source, {
    namespace: 'evil',
    workload: '',
    pod: '',
    identity: identity('evil', 'x'),
  });
});

test('refusals name the policy, audited requests those that would have refused, failures are of the server', () => {
  const { edges } = bench();
  const denied = { status: 403, flag: 'RBAC', code: 'WEFT_DENIED', endpoint: undefined } as const;
  edges.record(request({ ...denied, policy: 'shop/p' }));
  edges.record(request({ audited: ['shop/a', 'shop/b'] }));
  edges.record(request({ status: 503, flag: 'UH', endpoint: undefined }));
  edges.record(request({ status: 200, flag: 'UC' }));
  edges.record(request({ status: 200, grpcStatus: '14' }));
  edges.record(request({ status: 404 }));
  edges.record(request({ status: 200, grpcStatus: '5' }));
  const of = edges
    .take(1)
    .map(({ policy, port, destination, counts }) => [
      policy,
      port,
      destination.workload,
      counts.requests,
      counts.refused,
      counts.audited,
      counts.failures,
    ]);
  assert.deepEqual(of, [
    ['shop/p', 80, '', 1, 1, 0, 0],
    ['shop/a,shop/b', 8080, 'api', 1, 0, 1, 0],
    ['', 80, '', 1, 0, 0, 1],
    ['', 8080, 'api', 4, 0, 0, 2],
  ]);
});

test('requests without a valid token, those that a decision service denies, and those beyond a rate are refused and no failures', () => {
  const { edges } = bench();
  const ended = { endpoint: undefined } as const;
  edges.record(request({ ...ended, status: 401, flag: 'JWT', code: 'WEFT_JWT_MISSING', policy: 'jwt' }));
  edges.record(request({ ...ended, status: 401, flag: 'JWT', code: 'WEFT_JWT_INVALID', policy: 'jwt' }));
  edges.record(request({ ...ended, status: 503, flag: 'JWT', code: 'WEFT_JWT_BUSY', policy: 'jwt' }));
  edges.record(
    request({
      ...ended,
      status: 503,
      flag: 'UAEX',
      code: 'WEFT_EXTERNAL_AUTHORIZATION_DENIED',
      policy: 'ask',
    }),
  );
  edges.record(request({ ...ended, status: 429, flag: 'RL', code: 'WEFT_RATE_LIMITED', policy: 'rate' }));
  edges.record(request({ ...ended, status: 503, flag: 'UAEX', code: 'WEFT_EXTERNAL_AUTHORIZATION_SERVICE' }));
  const of = edges
    .take(1)
    .map(({ policy, counts }) => [policy, counts.requests, counts.refused, counts.failures]);
  assert.deepEqual(of, [
    ['jwt', 2, 2, 0],
    ['', 2, 0, 2],
    ['ask', 1, 1, 0],
    ['rate', 1, 1, 0],
  ]);
});

test('paths and methods that a client makes up are counted under other, and use up no template of other namespaces', () => {
  const { edges, limits } = bench();
  const word = (i: number): string => [...String(i)].map((digit) => 'abcdefghij'[Number(digit)]).join('');
  const evil = clientOf(identity('evil', 'x'), { ip: parseIp('10.0.0.9'), port: 1 });
  for (let i = 0; i < 20_000; i++)
    edges.record(request({ client: evil, path: `/${word(i)}`, method: i === 0 ? 'MADEUP' : 'GET' }));
  for (let i = 0; i < 50; i++) edges.record(request({ path: `/mine-${word(i)}` }));
  const taken = edges.take(1);
  const ofEvil = taken.filter(({ source }) => source.namespace === 'evil');
  assert.equal(ofEvil.length, templatesMax + 1);
  assert.equal(
    ofEvil.find(({ pathTemplate }) => pathTemplate === otherName)?.counts.requests,
    20_000 - templatesMax,
  );
  assert.ok(ofEvil.some(({ method }) => method === otherName));
  assert.equal(taken.filter(({ source }) => source.namespace === 'shop').length, 50);
  assert.deepEqual(new Set(limits), new Set(['path-templates']));
});

test('connections that are relayed, audited, refused and that fail are counted', () => {
  const { edges } = bench();
  const { client } = request();
  const destination = { kind: 'workload', workload: api, dialed: endpoint.target } as const;
  edges.relayed(client, destination, endpoint, 'opened');
  edges.relayed(client, destination, endpoint, 'refused');
  edges.relayed(client, destination, endpoint, 'failed');
  edges.relayed(client, destination, endpoint, 'opened', { audited: ['shop/p'] });
  edges.relayed(client, destination, endpoint, 'refused', { policy: 'shop/no' });
  const [only, audited, denied, ...others] = edges.take(1);
  assert.deepEqual(others, []);
  assert.deepEqual([audited?.policy, audited?.counts.connections, audited?.counts.audited], ['shop/p', 1, 1]);
  assert.deepEqual([denied?.policy, denied?.counts.refused, denied?.counts.audited], ['shop/no', 1, 0]);
  assert.deepEqual(
    [only?.counts.connections, only?.counts.refused, only?.counts.failures, only?.service, only?.method],
    [1, 1, 1, '', ''],
  );
});

test('long paths and made-up methods of a client are not kept', () => {
  v8.setFlagsFromString('--expose_gc');
  const collect = vm.runInNewContext('gc') as () => void;
  const { edges } = bench();
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 4_000; i++) {
    // Flat texts, as a parser makes them.
    edges.record(request({ path: Buffer.from(`/a?${i}${'x'.repeat(30_000)}`).toString('latin1') }));
    edges.record(request({ path: Buffer.from(`/${i}${'x'.repeat(30_000)}`).toString('latin1') }));
    edges.record(request({ method: Buffer.from(`M${i}${'X'.repeat(30_000)}`).toString('latin1') }));
  }
  collect();
  const heldMb = (process.memoryUsage().heapUsed - before) / 2 ** 20;
  assert.ok(heldMb < 10, `${heldMb.toFixed(1)} MiB`);
  assert.equal(edges.take(9).length, 3);
});
