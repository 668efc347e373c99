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
  installChart,
  kubectl,
  releaseCluster,
  takeCluster,
  weft,
} from '../support/cluster.js';
import { ask, askAll, type ClientResponse } from './waypoint/client.js';

const production = (...args: string[]): Promise<string> => kubectl('-n', 'production', ...args);
const client = 'production/client';
const url = 'http://payment-service/';
const beta = { headers: { 'x-user-type': 'beta-tester' } };

before(async () => {
  await takeCluster();
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
  await kubectl('apply', '--server-side', '-f', await gatewayKinds());
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

/**
 * Fills the 100 connections and the queue of 50 requests of v2, then sends one request. The parts are smaller than the queue, because a
 * request waits while its connection is opened.
 */
const overflow = `
const http = require('http');
const ended = [];
const send = () => new Promise((done) => {
  const call = http.get('http://payment-service/slow/60000', { agent: false, headers: { 'x-user-type': 'beta-tester' } }, (a) => {
    let text = '';
    a.on('data', (part) => (text += part));
    a.on('error', (e) => done(e.message));
    a.on('end', () => done(a.statusCode === 200 ? 'served' : a.statusCode + ' ' + text.trim()));
  });
  call.on('error', (e) => done(e.message));
});
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
(async () => {
  for (const count of [34, 33, 33, 50]) {
    for (let i = 0; i < count; i++) void send().then((status) => ended.push(status));
    await wait(3000);
  }
  const before = [...ended], began = Date.now();
  const status = await Promise.race([send(), wait(10000).then(() => 'no response')]);
  process.stdout.write(JSON.stringify({ status, tookMs: Date.now() - began, before }), () => process.exit());
})();`;

test('with 100 connections in use and 50 requests waiting, the next request is refused at once', async () => {
  const text = await production('exec', 'deploy/client', '--', 'node', '-e', overflow);
  const { status, tookMs, before } = JSON.parse(text) as {
    readonly status: unknown;
    readonly tookMs: number;
    readonly before: readonly unknown[];
  };
  assert.deepEqual(before, [], 'none of the 150 requests has ended');
  assert.match(String(status), /^503 /);
  assert.ok(tookMs < 2_000, `${tookMs} ms`);
  await until('the requests are gone', 30_000, async () => (await ask(client, url, beta)).status === 200);
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
