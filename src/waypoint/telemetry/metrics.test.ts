import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AggregatorRegistry } from 'prom-client';
import { parseIp } from '../../model/address.js';
import { parseSpiffeId } from '../../model/identity.js';
import { MeshState } from '../../state/store.js';
import { seriesIdleMsMax } from '../../telemetry/series.js';
import { clientOf } from '../listener/client.js';
import type { RequestRecord } from './request-record.js';
import { WaypointMetrics } from './metrics.js';

const requestOf = (namespace: string, account: string, more: Partial<RequestRecord> = {}): RequestRecord => ({
  number: 1,
  client: clientOf(parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${account}`), {
    ip: parseIp('10.0.0.1'),
    port: 1,
  }),
  service: 'api.shop.svc.cluster.local',
  serviceName: 'api',
  serviceNamespace: 'shop',
  port: 80,
  method: 'GET',
  authority: 'api',
  path: '/',
  version: 'HTTP/1.1',
  protocol: 'http',
  status: 200,
  grpcStatus: undefined,
  flag: undefined,
  code: undefined,
  why: undefined,
  route: undefined,
  endpoint: undefined,
  attempts: 1,
  attemptsBefore: 0,
  policy: undefined,
  rule: undefined,
  audited: [],
  actions: [],
  bytesReceived: 1,
  bytesSent: 2,
  startedMs: 0,
  durationMs: 3,
  ...more,
});

interface Exposed {
  readonly name: string;
  readonly values: readonly { readonly value: number; readonly labels: Readonly<Record<string, string>> }[];
}

function start() {
  const view = new MeshState();
  const clock = { now: 0 };
  const metrics = new WaypointMetrics(
    () => view,
    () => clock.now,
  );
  const values = async (name: string) =>
    ((await metrics.read()) as Exposed[]).find((one) => one.name === name)?.values ?? [];
  return { metrics, clock, values };
}

test('a namespace with thousands of clients does not take other namespaces’ series', async () => {
  const { metrics, values } = start();
  for (let i = 0; i < 5000; i++) metrics.record(requestOf('evil', `x${i}`));
  metrics.record(requestOf('bank', 'teller'));
  metrics.record(requestOf('bank', 'teller'));
  const all = await values('istio_requests_total');
  const of = (namespace: string) =>
    all.filter(({ labels }) => labels['source_workload_namespace'] === namespace);
  assert.equal(of('bank')[0]?.value, 2);
  assert.ok(of('evil').length < 2000);
  assert.equal(all.filter(({ labels }) => labels['destination_service'] === 'other').length, 1);
  assert.ok(
    (await values('weft_limit_reached_total')).some(
      ({ labels, value }) => labels['limit'] === 'metric-series' && value > 0,
    ),
  );
});

test('without names no label reveals a client, a Service, a policy or a route', async () => {
  const { metrics } = start();
  metrics.record(
    requestOf('shop', 'web', { code: 'WEFT_DENIED', policy: 'shop/p', audited: ['shop/q'], route: 'shop/r' }),
  );
  metrics.limitReached.inc({ limit: 'requests' });
  metrics.refusedHeads.inc({ status: '400' });
  metrics.detections.inc({ result: 'http1' });
  metrics.mirrored.inc({ result: 'buffer' });
  assert.match(JSON.stringify(await metrics.read()), /spiffe/);
  const exposed = (await metrics.read(false)) as Exposed[];
  assert.deepEqual(
    exposed.map(({ name, values }) => [name, values[0]?.value]),
    [
      ['weft_limit_reached_total', 1],
      ['weft_waypoint_unreadable_requests_total', 1],
      ['weft_waypoint_protocol_detections_total', 1],
      ['weft_waypoint_mirrored_requests_total', 1],
    ],
  );
  const text = await AggregatorRegistry.aggregate([exposed]).metrics();
  assert.match(text, /^weft_waypoint_unreadable_requests_total\{status="400"\} 1$/m);
  assert.doesNotMatch(text, /shop|spiffe|web|istio/);
});

test('series of clients that are gone are removed', async () => {
  const { metrics, clock, values } = start();
  metrics.record(requestOf('shop', 'old', { code: 'WEFT_DENIED', policy: 'shop/p', audited: ['shop/q'] }));
  clock.now += seriesIdleMsMax + 1;
  metrics.record(requestOf('shop', 'new'));
  const all = await values('istio_requests_total');
  assert.deepEqual(
    all.map(({ labels }) => labels['source_principal']),
    ['spiffe://cluster.local/ns/shop/sa/new'],
  );
  assert.deepEqual(await values('weft_refused_total'), []);
  assert.deepEqual(await values('weft_audited_total'), []);
  // The series starts at zero again.
  metrics.record(requestOf('shop', 'old'));
  assert.equal(
    (await values('istio_requests_total')).find(({ labels }) => labels['source_principal']?.endsWith('old'))
      ?.value,
    1,
  );
});

test('invalid gRPC statuses share one series, and refusals are bounded per client', async () => {
  const { metrics, values } = start();
  for (let i = 0; i < 100; i++) metrics.record(requestOf('shop', 'web', { grpcStatus: `status-${i}` }));
  for (let i = 0; i < 5000; i++)
    metrics.record(requestOf('evil', `x${i}`, { code: 'WEFT_DENIED', policy: 'shop/p' }));
  metrics.record(requestOf('bank', 'teller', { code: 'WEFT_DENIED', policy: 'shop/p' }));
  const statuses = (await values('istio_requests_total')).filter(
    ({ labels }) => labels['source_workload_namespace'] === 'shop',
  );
  assert.deepEqual(
    statuses.map(({ labels, value }) => [labels['grpc_response_status'], value]),
    [['invalid', 100]],
  );
  const refused = await values('weft_refused_total');
  assert.ok(refused.length <= 2001);
  assert.ok(refused.some(({ labels }) => labels['source_principal']?.endsWith('/teller')));
});

test('a refused connection counts by code, policy, rule and client, and what audit mode let pass by policy', async () => {
  const { metrics, values } = start();
  const { client } = requestOf('shop', 'web');
  metrics.refused(client, { code: 'WEFT_DENIED', policy: 'shop/p', rule: 0 });
  metrics.audited(['shop/q']);
  const source_principal = 'spiffe://cluster.local/ns/shop/sa/web';
  assert.deepEqual(
    (await values('weft_refused_total')).map(({ labels, value }) => [labels, value]),
    [[{ code: 'WEFT_DENIED', policy: 'shop/p', rule: '0', source_principal }, 1]],
  );
  assert.deepEqual(
    (await values('weft_audited_total')).map(({ labels, value }) => [labels, value]),
    [[{ policy: 'shop/q' }, 1]],
  );
});

test('threat 4: what a client without the token reads costs no walk over the workloads of the mesh', async () => {
  const view = new MeshState();
  let walks = 0;
  view.workloads = () => {
    walks++;
    return [];
  };
  const metrics = new WaypointMetrics(() => view, Date.now);
  assert.ok((await metrics.read(false)).length > 0);
  assert.equal(walks, 0);
  await metrics.read();
  assert.equal(walks, 1);
});
