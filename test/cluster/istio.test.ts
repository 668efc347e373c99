/**
 * Istio's own YAML on a real cluster: the one of KUBECONFIG, or else one on this machine (test/cluster/up), which is removed afterwards. The
 * CRDs are those that Istio publishes, installed by the chart. The tests share the cluster and run in this order.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import {
  applyText,
  gatewayKinds,
  here,
  httpGet,
  installChart,
  kubectl,
  releaseCluster,
  takeCluster,
  weft,
} from '../support/cluster.js';
import { askAll, type ClientResponse } from './waypoint/client.js';

const production = (...args: string[]): Promise<string> => kubectl('-n', 'production', ...args);
const client = 'production/client';
const url = 'http://payment-service/';
const beta = { headers: { 'x-user-type': 'beta-tester' } };

before(async () => {
  await takeCluster();
  await kubectl('apply', '--server-side', '-f', await gatewayKinds());
  await kubectl('apply', '-f', join(here, 'manifests', 'istio.yaml'));
});
after(async () => {
  await production('delete', 'gateway', '--all').catch(() => '');
  await releaseCluster('production');
});

/** The two objects as published guides have them, in a version of the API. */
const published = (version: string): string => `apiVersion: networking.istio.io/${version}
kind: VirtualService
metadata: { name: payment-service, namespace: production }
spec:
  hosts: [payment-service]
  http:
    - match: [{ headers: { x-user-type: { exact: beta-tester } } }]
      route: [{ destination: { host: payment-service, subset: v2 }, weight: 100 }]
    - route:
        - { destination: { host: payment-service, subset: v1 }, weight: 90 }
        - { destination: { host: payment-service, subset: v2 }, weight: 10 }
---
apiVersion: networking.istio.io/${version}
kind: DestinationRule
metadata: { name: payment-service, namespace: production }
spec:
  host: payment-service
  trafficPolicy:
    connectionPool: { tcp: { maxConnections: 100 }, http: { http1MaxPendingRequests: 50, maxRequestsPerConnection: 2 } }
    outlierDetection: { consecutiveErrors: 5, interval: 30s, baseEjectionTime: 30s }
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
`;

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
}
/** The condition `Accepted` of an object, once it is about the object's current generation. */
const accepted = (resource: string, name: string): Promise<Condition> => {
  let last = '';
  return until(`${resource} ${name} has a current condition Accepted`, 60_000, async () => {
    last = await production('get', resource, name, '-o', 'json');
    const { metadata, status } = JSON.parse(last) as {
      readonly metadata: { readonly generation: number };
      readonly status?: { readonly conditions?: readonly Condition[] };
    };
    return status?.conditions?.find(
      ({ type, observedGeneration }) => type === 'Accepted' && observedGeneration === metadata.generation,
    );
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${last}`);
  });
};
const isOf =
  (version: string) =>
  ({ status, pod }: ClientResponse): boolean =>
    status === 200 && pod?.startsWith(`payment-${version}-`) === true;

test('the chart installs the CRDs that Istio publishes, in all of their versions', async () => {
  // One process, whose limits and ejections can be counted.
  await installChart(
    ...['istio.installCrds=true', 'waypoint.replicas=1', 'waypoint.workers=1'].flatMap((one) => [
      '--set',
      one,
    ]),
  );
  for (const name of ['payment-v1', 'payment-v2', 'client'])
    await production('rollout', 'status', `deploy/${name}`, '--timeout=120s');
  const served = await kubectl('api-resources', '--api-group=networking.istio.io', '-o', 'name');
  assert.equal(served.split('\n').length, 9, served);
  assert.match(
    await until('the waypoint is ready', 120_000, () =>
      weft('waypoint', 'apply', '-n', 'production', '--for-namespace').catch(() => ''),
    ),
    /waypoint production\/waypoint is ready/,
  );
});

for (const version of ['v1beta1', 'v1'])
  test(`in ${version} beta testers get v2, others 90 of 100 times v1, and both objects say that they are in force`, async () => {
    await applyText(published(version));
    for (const resource of ['virtualservice', 'destinationrule']) {
      const { status, message } = await accepted(resource, 'payment-service');
      assert.equal(`${status} ${message}`, 'True in force', resource);
    }
    await until('beta testers get v2', 30_000, async () =>
      (await askAll(client, { url, ...beta, count: 10 })).every(isOf('v2')),
    );
    const testers = await askAll(client, { url, ...beta, count: 100 });
    assert.equal(testers.filter(isOf('v2')).length, 100);
    const others = await askAll(client, { url, count: 1000 });
    const first = others.filter(isOf('v1')).length;
    assert.equal(first + others.filter(isOf('v2')).length, 1000);
    assert.ok(first > 850 && first < 950, `${first} of 1000`);
    if (version === 'v1beta1') await production('delete', 'virtualservice,destinationrule', '--all');
  });

/** A program of the client's pod: sends requests of beta testers at once, and prints the status and duration of each. */
const send = (count: number): string => `
const http = require('http');
const began = Date.now();
const one = () => new Promise((done) => {
  const end = (status) => done({ status, tookMs: Date.now() - began });
  const headers = { 'x-user-type': 'beta-tester' };
  const call = http.get('${url}slow/40000', { agent: false, headers }, (a) => { a.resume(); a.on('end', () => end(a.statusCode)); });
  call.on('error', (e) => end(e.message));
});
Promise.all(Array.from({ length: ${count} }, one)).then((all) => process.stdout.write(JSON.stringify(all)));`;
interface Sent {
  readonly status: number | string;
  readonly tookMs: number;
}
const sent = async (count: number): Promise<readonly Sent[]> =>
  JSON.parse(await production('exec', 'deploy/client', '--', 'node', '-e', send(count))) as Sent[];

/** Connections and waiting requests of subset v2 at the waypoint. */
async function inUse(): Promise<string> {
  const text = await production(
    ...['exec', 'deploy/waypoint', '--', 'node', '-e', httpGet('http://127.0.0.1:15000/clusters')],
  );
  const workers = JSON.parse(text) as readonly {
    readonly clusters: readonly {
      readonly name: string;
      readonly pending: number;
      readonly endpoints: readonly { readonly connections: number }[];
    }[];
  }[];
  const found = workers
    .flatMap(({ clusters }) => clusters)
    .find(({ name }) => name === 'outbound|80|v2|payment-service.production.svc.cluster.local');
  return `${found?.endpoints[0]?.connections} connections, ${found?.pending} waiting`;
}

test('with 100 connections in use and 50 requests waiting, the next request is refused at once', async () => {
  // The parts are smaller than the queue, because a request waits while its connection is opened.
  const parts = [34, 33, 33, 50];
  const under: Promise<readonly Sent[]>[] = [];
  let total = 0;
  for (const part of parts) {
    under.push(sent(part));
    total += part;
    const wanted = `${Math.min(total, 100)} connections, ${Math.max(total - 100, 0)} waiting`;
    let last = '';
    await until(wanted, 20_000, async () => (last = await inUse()) === wanted).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${last}`);
    });
  }
  const [next] = await sent(1);
  assert.equal(next?.status, 503);
  assert.ok(next.tookMs < 2_000, `${next.tookMs} ms`);
  const [first = []] = await Promise.all(under);
  assert.ok(
    first.every(({ status }) => status === 200),
    JSON.stringify(first),
  );
});

test('an endpoint is ejected after 5 errors, for 30 s', async () => {
  const name = (
    await production('get', 'pod', '-l', 'version=v1', '-o', 'jsonpath={.items[0].metadata.name}')
  ).trim();
  const all = await askAll(client, { url: `${url}fail-at/${name}`, count: 100 });
  const errors = all.filter(({ status }) => status === 500);
  assert.equal(errors.length, 5, JSON.stringify(all.map(({ status }) => status)));
  const ejectedAtMs = errors.at(-1)?.atMs ?? 0;
  const away = await askAll(client, { url, ms: 15_000 });
  assert.ok(away.length > 50, `${away.length} requests`);
  assert.equal(away.filter(({ pod }) => pod === name).length, 0);
  const back = await until('the endpoint is back', 60_000, async () =>
    (await askAll(client, { url, count: 20 })).find(({ pod }) => pod === name),
  );
  assert.ok(back.atMs - ejectedAtMs >= 29_000, `${back.atMs - ejectedAtMs} ms`);
});

test('kinds that Weft does not carry out say so, and what does the same', async () => {
  await applyText(`apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: patch, namespace: production }
spec: { configPatches: [] }
`);
  const { status, reason, message } = await accepted('envoyfilter', 'patch');
  assert.equal(`${status} ${reason}`, 'False Unsupported');
  assert.match(message, /TrafficPolicy/);
});

test('a ServiceEntry is in force in its namespace, and says that others do not see it', async () => {
  await applyText(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: pay, namespace: production }
spec:
  hosts: [pay.example.com]
  addresses: [198.51.100.1]
  resolution: STATIC
  ports: [{ number: 443, name: tls, protocol: TLS }]
  endpoints: [{ address: 192.0.2.1 }]
`);
  const { status, message } = await accepted('serviceentry', 'pay');
  assert.equal(status, 'True');
  assert.match(message, /weft\.dev\/export=enabled/);
});
