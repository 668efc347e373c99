import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  latencyBoundsMs,
  noCounts,
  type Edge,
  type EdgeCounts,
  type EdgeParty,
} from '../../../src/model/edge.js';
import { settings } from '../../../test/support/smi.js';
import { metricsLookupOf } from '../../api-server/registry-lookup.js';
import { compile } from '../../compile/compile.js';
import { kinds } from '../../kinds/kinds.js';
import type { MeshObject, PodObject } from '../../objects/objects.js';
import { parseManifests } from '../../source/parse.js';
import { ownersOf } from './metric-resources.js';
import {
  trafficMetricsEdges,
  trafficMetricsList,
  type Observed,
  type TrafficMetrics,
} from './traffic-metrics.js';

const pod = (
  name: string,
  app: string,
  {
    namespace = 'shop',
    node = 'node1',
    controller = undefined as PodObject['controller'],
    labels = {} as Record<string, string>,
  } = {},
): PodObject => ({
  kind: 'Pod',
  metadata: { name, namespace, uid: `uid-${namespace}-${name}`, labels: { app, ...labels } },
  ...(controller ? { controller } : {}),
  spec: { nodeName: node },
  status: { podIPs: [] },
});
const ofDeployment = (name: string, hash: string, app: string, more: object = {}): PodObject =>
  pod(`${name}-${hash}-x`, app, {
    controller: { kind: 'ReplicaSet', name: `${name}-${hash}` },
    labels: { 'pod-template-hash': hash, version: name },
    ...more,
  });

const objects: readonly MeshObject[] = [
  ...parseManifests(
    'mesh.yaml',
    `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Namespace
metadata: { name: bank, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop, labels: { tier: front } }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: web-v2, namespace: shop }
spec: { selector: { version: web2 }, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: web-v1, namespace: shop }
spec: { selector: { version: web1 }, ports: [{ port: 80 }] }
---
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: { name: canary, namespace: shop }
spec: { service: web, backends: [{ service: web-v1, weight: 90 }, { service: web-v2, weight: 10 }] }
`,
  ).objects,
  ofDeployment('web1', 'aaa', 'web'),
  ofDeployment('web2', 'bbb', 'web', { node: 'node2' }),
  pod('db-0', 'db', { controller: { kind: 'StatefulSet', name: 'db' } }),
  pod('plain', 'plain', { namespace: 'outside' }),
  ofDeployment('teller', 'ccc', 'teller', { namespace: 'bank' }),
];
const lookup = metricsLookupOf(compile(objects, settings));

const party = (namespace: string, name: string): EdgeParty => ({
  namespace,
  workload: name.split('-')[0] ?? '',
  pod: name,
  identity: undefined,
});
const latencies = (counts: Readonly<Record<number, number>>): readonly number[] => [
  ...latencyBoundsMs.map((bound) => counts[bound] ?? 0),
  0,
];
/** `shop/web1-aaa-x` */
const requests = (from: string, to: string, counts: Partial<EdgeCounts>, more: Partial<Edge> = {}): Edge => {
  const [source, destination] = [from, to].map((one) => {
    const [namespace = '', name = ''] = one.split('/');
    return party(namespace, name);
  });
  assert.ok(source && destination);
  return {
    reporter: 'waypoint',
    source,
    destination,
    service: `web.${destination.namespace}.svc.cluster.local`,
    port: 8080,
    path: 'waypoint',
    method: 'GET',
    pathTemplate: '/',
    policy: '',
    counts: { ...noCounts, ...counts },
    ...more,
  };
};
const connections = (from: string, to: string, reporter: Edge['reporter'] = 'destination'): Edge =>
  requests(from, to, { connections: 3, failures: 1 }, { reporter, method: '', path: 'hbone' });
const nowMs = Date.parse('2026-01-02T03:04:35.500Z');
const observed = (...edges: Edge[]): Observed => ({ edges, sinceMs: nowMs - 35_500, nowMs });
const counts = ({ metrics }: TrafficMetrics): string =>
  metrics
    .filter(({ name }) => name.endsWith('_count'))
    .map(({ value }) => value)
    .join('+');
const named = (items: readonly TrafficMetrics[]): Record<string, string> =>
  Object.fromEntries(
    items.map((item) => [`${item.resource.namespace ?? ''}/${item.resource.name}`, counts(item)]),
  );
const edgesText = (items: readonly TrafficMetrics[]): readonly string[] =>
  items.map((item) => {
    const { direction, side, resource } = item.edge;
    return `${direction} ${side} ${resource.kind} ${resource.namespace ?? ''}/${resource.name ?? '?'}: ${counts(item)}`;
  });

const some = observed(
  requests('bank/teller-ccc-x', 'shop/web1-aaa-x', {
    requests: 100,
    failures: 2,
    latencyCounts: latencies({ 5: 50, 10: 50 }),
  }),
  requests('shop/db-0', 'shop/web1-aaa-x', { requests: 10, latencyCounts: latencies({ 5: 10 }) }),
  requests('bank/teller-ccc-x', 'shop/web2-bbb-x', {
    requests: 7,
    failures: 7,
    latencyCounts: latencies({ 1: 7 }),
  }),
  connections('shop/web1-aaa-x', 'shop/db-0'),
  connections('shop/web1-aaa-x', 'shop/db-0', 'source'),
);

test('the metrics of a pod are the objects of the specification', () => {
  const [item, ...more] = trafficMetricsList('pods', 'shop', some, lookup, { name: 'web1-aaa-x' });
  assert.deepEqual(more, []);
  assert.deepEqual(item, {
    kind: 'TrafficMetrics',
    apiVersion: 'metrics.smi-spec.io/v1alpha1',
    metadata: {
      name: 'web1-aaa-x',
      namespace: 'shop',
      creationTimestamp: '2026-01-02T03:04:35Z',
      labels: { app: 'web', 'pod-template-hash': 'aaa', version: 'web1' },
    },
    timestamp: '2026-01-02T03:04:35Z',
    window: '36s',
    resource: { kind: 'Pod', namespace: 'shop', name: 'web1-aaa-x' },
    edge: { direction: 'from', side: 'server', resource: {} },
    metrics: [
      { name: 'p99_response_latency', unit: 'ms', value: '9890m' },
      { name: 'p90_response_latency', unit: 'ms', value: '8900m' },
      { name: 'p50_response_latency', unit: 'ms', value: '4667m' },
      { name: 'success_count', value: '108' },
      { name: 'failure_count', value: '2' },
    ],
  });
});

test('of each kind the metrics are those of its pods, and each request counts once', () => {
  const list = (
    plural: Parameters<typeof trafficMetricsList>[0],
    namespace?: string,
  ): Record<string, string> => named(trafficMetricsList(plural, namespace, some, lookup));
  const pods = { 'shop/db-0': '0+0', 'shop/web1-aaa-x': '108+2', 'shop/web2-bbb-x': '0+7' };
  assert.deepEqual(list('pods', 'shop'), pods);
  assert.deepEqual(
    list('pods'),
    { 'bank/teller-ccc-x': '0+0', ...pods },
    'a pod outside of the mesh has no metrics',
  );
  assert.deepEqual(list('deployments', 'shop'), { 'shop/web1': '108+2', 'shop/web2': '0+7' });
  assert.deepEqual(list('replicasets', 'shop'), { 'shop/web1-aaa': '108+2', 'shop/web2-bbb': '0+7' });
  assert.deepEqual(list('statefulsets', 'shop'), { 'shop/db': '0+0' });
  assert.deepEqual(list('daemonsets', 'shop'), {});
  assert.deepEqual(list('namespaces'), { '/bank': '0+0', '/shop': '108+9' });
  assert.deepEqual(list('services', 'shop'), {
    'shop/web': '108+9',
    'shop/web-v1': '0+0',
    'shop/web-v2': '0+0',
  });
});

test('the edges of a pod name who sent to it and whom it sent to, with the side that observed', () => {
  const edges = (name: string): readonly string[] =>
    edgesText(trafficMetricsEdges('pods', 'shop', name, some, lookup, () => true));
  assert.deepEqual(edges('web1-aaa-x'), [
    'from server Pod bank/teller-ccc-x: 98+2',
    'from server Pod shop/db-0: 10+0',
    'to client Pod shop/db-0: 0+0',
  ]);
  assert.deepEqual(edges('db-0'), [
    'from server Pod shop/web1-aaa-x: 0+0',
    'to client Pod shop/web1-aaa-x: 10+0',
  ]);
});

test('the edges of what pods belong to name what made the other pods', () => {
  assert.deepEqual(edgesText(trafficMetricsEdges('deployments', 'shop', 'web1', some, lookup, () => true)), [
    'from server Deployment bank/teller: 98+2',
    'from server StatefulSet shop/db: 10+0',
    'to client StatefulSet shop/db: 0+0',
  ]);
  assert.deepEqual(
    edgesText(trafficMetricsEdges('namespaces', undefined, 'shop', some, lookup, () => true)),
    [
      'from server Namespace /bank: 98+9',
      'from server Namespace /shop: 10+0',
      'to client Namespace /shop: 10+0',
    ],
  );
});

test('forbidden: peers of a namespace that the reader may not read are not named, in any kind', () => {
  for (const [plural, name] of [
    ['pods', 'web1-aaa-x'],
    ['deployments', 'web1'],
    ['services', 'web'],
  ] as const) {
    const items = trafficMetricsEdges(plural, 'shop', name, some, lookup, () => false);
    assert.doesNotMatch(JSON.stringify(items), /bank|teller/, plural);
    assert.ok(items.some((item) => item.edge.resource.name === undefined && counts(item).startsWith('98')));
  }
  const items = trafficMetricsEdges('namespaces', undefined, 'shop', some, lookup, () => false);
  assert.doesNotMatch(JSON.stringify(items), /bank/);
});

test("forbidden: a waypoint of one namespace changes the metrics of another's pods", () => {
  const forged = observed(
    requests(
      'bank/teller-ccc-x',
      'shop/web1-aaa-x',
      { requests: 1_000, failures: 1_000 },
      { service: 'web.bank.svc.cluster.local' },
    ),
  );
  assert.deepEqual(named(trafficMetricsList('pods', 'shop', forged, lookup)), {
    'shop/db-0': '0+0',
    'shop/web1-aaa-x': '0+0',
    'shop/web2-bbb-x': '0+0',
  });
  assert.deepEqual(named(trafficMetricsList('namespaces', undefined, forged, lookup)), {
    '/bank': '0+0',
    '/shop': '0+0',
  });
  assert.deepEqual(
    trafficMetricsEdges('pods', 'shop', 'web1-aaa-x', forged, lookup, () => true),
    [],
  );
});

test("forbidden: the agent of a client's node makes an edge of a pod on another node", () => {
  const claimed = observed(connections('bank/teller-ccc-x', 'shop/db-0', 'source'));
  assert.deepEqual(
    trafficMetricsEdges('pods', 'shop', 'db-0', claimed, lookup, () => true),
    [],
  );
});

test('a TrafficSplit has one object for each backend, by the pods that the backend selects', () => {
  const items = trafficMetricsList('trafficsplits', 'shop', some, lookup);
  assert.deepEqual(
    items.map((item) => [item.resource, item.edge, item.backend, counts(item)]),
    [
      ['web-v1', 90, '108+2'],
      ['web-v2', 10, '0+7'],
    ].map(([name, weight, sum]) => [
      { kind: 'TrafficSplit', namespace: 'shop', name: 'canary' },
      { direction: 'from', side: 'client', resource: {} },
      { apex: 'web', name, weight },
      sum,
    ]),
  );
});

test('many splits of one Service with many backends and edges cost the control plane no seconds', () => {
  const [canary] = lookup.splits('shop');
  assert.ok(canary?.spec);
  const backends = Array.from({ length: 100 }, (_, i) => ({ service: `b${i}`, weight: 1 }));
  const { spec, metadata } = canary;
  const many = Array.from({ length: 100 }, (_, i) => ({
    ...canary,
    metadata: { ...metadata, name: `s${i}` },
    spec: { ...spec, backends },
  }));
  const [edge] = some.edges.filter(({ service }) => service.startsWith('web.shop.'));
  assert.ok(edge);
  const edges = Array.from({ length: 10_000 }, (_, port) => ({ ...edge, port }));
  const fromMs = performance.now();
  const items = trafficMetricsList(
    'trafficsplits',
    'shop',
    { ...some, edges },
    { ...lookup, splits: () => many },
  );
  assert.equal(items.length, 10_000);
  assert.ok(performance.now() - fromMs < 3_000, 'for each split each edge was compared with each backend');
});

test('labels select resources; what pods made has the labels that all of its pods have', () => {
  const list = (plural: 'pods' | 'deployments' | 'services', label: string): readonly string[] =>
    trafficMetricsList(plural, 'shop', some, lookup, {
      mayHave: (labels) => Object.values(labels).includes(label),
    }).map(({ resource }) => resource.name ?? '');
  assert.deepEqual(list('pods', 'web'), ['web1-aaa-x', 'web2-bbb-x']);
  assert.deepEqual(list('deployments', 'web2'), ['web2']);
  assert.deepEqual(list('services', 'front'), ['web']);
});

test('a pod keeps the owner that controls it, and no other', () => {
  const raw = {
    metadata: {
      name: 'p',
      namespace: 'shop',
      ownerReferences: [
        { kind: 'ConfigMap', name: 'other' },
        { kind: 'StatefulSet', name: 'db', controller: true, uid: 'u' },
      ],
    },
    spec: { nodeName: 'n' },
  };
  assert.deepEqual((kinds.Pod.pickFields(raw) as PodObject).controller, { kind: 'StatefulSet', name: 'db' });
});

test('a pod of a ReplicaSet is of a Deployment only by the name that the Deployment gives', () => {
  const owners = (name: string, hash?: string): string =>
    ownersOf(
      pod('p', 'x', {
        controller: { kind: 'ReplicaSet', name },
        labels: hash === undefined ? {} : { 'pod-template-hash': hash },
      }),
    )
      .map((one) => `${one.kind} ${one.name}`)
      .join(', ');
  assert.equal(owners('web-5d8f', '5d8f'), 'ReplicaSet web-5d8f, Deployment web');
  assert.equal(owners('web-5d8f'), 'ReplicaSet web-5d8f');
  assert.equal(owners('web-5d8f', '8f'), 'ReplicaSet web-5d8f');
  assert.equal(owners('-5d8f', '5d8f'), 'ReplicaSet -5d8f');
});

test('what was counted beyond the limits of the reports is of nobody that is named', () => {
  const beyond = observed(requests('other/other', 'shop/web1-aaa-x', { requests: 5 }));
  assert.deepEqual(edgesText(trafficMetricsEdges('pods', 'shop', 'web1-aaa-x', beyond, lookup, () => true)), [
    'from server Pod /?: 5+0',
  ]);
  assert.deepEqual(
    edgesText(trafficMetricsEdges('namespaces', undefined, 'shop', beyond, lookup, () => true)),
    ['from server Namespace /?: 5+0'],
  );
});

test('requests and connections that were refused are no traffic', () => {
  const refused = observed(
    requests(
      'bank/teller-ccc-x',
      'shop/',
      { requests: 8, refused: 8, latencyCounts: latencies({ 5: 8 }) },
      { policy: 'shop/p' },
    ),
    requests('shop/db-0', 'shop/web1-aaa-x', {
      requests: 4,
      refused: 1,
      failures: 1,
      latencyCounts: latencies({ 5: 4 }),
    }),
    requests(
      'bank/teller-ccc-x',
      'shop/web1-aaa-x',
      { refused: 3 },
      { reporter: 'destination', method: '', path: 'refused' },
    ),
  );
  assert.equal(named(trafficMetricsList('services', 'shop', refused, lookup))['shop/web'], '2+1');
  assert.deepEqual(
    edgesText(trafficMetricsEdges('namespaces', undefined, 'shop', refused, lookup, () => true)),
    ['from server Namespace /shop: 2+1', 'to client Namespace /shop: 2+1'],
  );
});
