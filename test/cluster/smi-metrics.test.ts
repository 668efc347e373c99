/**
 * SMI's TrafficMetrics on a real cluster: the one of KUBECONFIG, or else one on this machine (test/cluster/up), which is removed afterwards.
 * The tests share the cluster and run in this order.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { until } from '../../src/base/wait.js';
import {
  env,
  gatewayKinds,
  here,
  installChart,
  kubectl,
  releaseCluster,
  run,
  takeCluster,
  weft,
} from '../support/cluster.js';
import { askAll } from './waypoint/client.js';

const root = '/apis/metrics.smi-spec.io/v1alpha1';
const apiService = 'v1alpha1.metrics.smi-spec.io';

interface Metrics {
  readonly resource: { readonly kind: string; readonly namespace?: string; readonly name: string };
  readonly edge: {
    readonly direction: string;
    readonly side: string;
    readonly resource: { readonly kind?: string; readonly namespace?: string; readonly name?: string };
  };
  readonly window: string;
  readonly metrics: readonly { readonly name: string; readonly value: string }[];
}
const read = async <T>(path: string, ...as: string[]): Promise<T> =>
  JSON.parse(await kubectl('get', '--raw', `${root}${path}`, ...as)) as T;
const list = async (path: string, ...as: string[]): Promise<readonly Metrics[]> =>
  (await read<{ readonly items: readonly Metrics[] }>(path, ...as)).items;
async function refusal(path: string, ...as: string[]): Promise<string> {
  try {
    await promisify(execFile)('kubectl', ['get', '--raw', `${root}${path}`, ...as], { env });
  } catch (error) {
    return (error as { readonly stderr: string }).stderr;
  }
  return assert.fail(`${path} was served`);
}
const value = ({ metrics }: Metrics, name: string): number =>
  Number(metrics.find((one) => one.name === name)?.value.replace(/k$/, '000'));
const counts = (one: Metrics): string => `${value(one, 'success_count')}+${value(one, 'failure_count')}`;
const podOf = (namespace: string, app: string): Promise<string> =>
  kubectl('-n', namespace, 'get', 'pod', '-l', `app=${app}`, '-o', 'jsonpath={.items[0].metadata.name}');

before(async () => {
  await takeCluster();
  await kubectl('apply', '--server-side', '-f', await gatewayKinds());
  await kubectl('apply', '-f', join(here, 'manifests', 'smi-metrics.yaml'));
  await installChart('--set', 'smi.metrics=true');
  for (const deployment of ['shop web', 'shop client', 'bank teller']) {
    const [namespace = '', name = ''] = deployment.split(' ');
    await kubectl('-n', namespace, 'rollout', 'status', `deploy/${name}`, '--timeout=120s');
  }
  await until('the waypoint is ready', 120_000, () =>
    weft('waypoint', 'apply', '-n', 'shop', '--for-namespace').catch(() => ''),
  );
});
after(() => releaseCluster('shop', 'bank'));

test('the API server forwards to the control plane, which it verifies by the roots that the leader wrote', async () => {
  await kubectl('wait', 'apiservice', apiService, '--for=condition=Available', '--timeout=90s');
  assert.match(
    await kubectl('api-resources', '--api-group=metrics.smi-spec.io', '-o', 'name'),
    /^pods\.metrics/m,
  );
});

test('requests through a waypoint count once, as successes and failures, for the pod, its Deployment, Service and namespace', async () => {
  const [web, client, teller] = await Promise.all([
    podOf('shop', 'web'),
    podOf('shop', 'client'),
    podOf('bank', 'teller'),
  ]);
  const ok = await askAll('shop/client', { url: 'http://web.shop/', count: 40 });
  assert.ok(ok.every(({ status }) => status === 200));
  const bad = await askAll('bank/teller', { url: `http://web.shop/fail-at/${web}`, count: 10 });
  assert.ok(bad.every(({ status }) => status === 500));
  let last: readonly Metrics[] = [];
  const pod = await until('the requests are reported', 60_000, async () => {
    last = await list('/namespaces/shop/pods');
    const found = last.find(({ resource }) => resource.name === web);
    return found && value(found, 'success_count') + value(found, 'failure_count') >= 50 && found;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
  });
  assert.equal(counts(pod), '40+10');
  assert.match(pod.window, /^[3-6]\ds$/);
  assert.ok(value(pod, 'p99_response_latency') !== 0);
  for (const path of ['deployments/web', 'services/web', `pods/${web}`])
    assert.equal(counts(await read<Metrics>(`/namespaces/shop/${path}`)), '40+10', path);
  assert.equal(counts(await read<Metrics>('/namespaces/shop')), '40+10');
  const edges = await list(`/namespaces/shop/pods/${web}/edges`);
  const from = edges.map(
    (one) => `${one.edge.direction} ${one.edge.resource.namespace}/${one.edge.resource.name} ${counts(one)}`,
  );
  assert.ok(from.includes(`from shop/${client} 40+0`), from.join());
  assert.ok(from.includes(`from bank/${teller} 0+10`), from.join());
  const to = await list('/namespaces/bank/deployments/teller/edges');
  assert.ok(
    to.some(
      (one) =>
        `${one.edge.direction} ${one.edge.side} ${one.edge.resource.kind}/${one.edge.resource.name}` ===
        'to client Deployment/web',
    ),
    JSON.stringify(to),
  );
  assert.match(await kubectl('get', 'pods.metrics.smi-spec.io', '-n', 'shop'), /^web-\S+ +80\.00%/m);
});

test('forbidden: a user without the right reads metrics; a viewer of one namespace learns anything of another', async () => {
  assert.match(await refusal('/namespaces/shop/pods', '--as=mallory'), /Forbidden/);
  const web = await podOf('shop', 'web');
  for (const path of [
    '/namespaces/bank/pods',
    '/namespaces/bank',
    '/namespaces/bank/deployments/teller/edges',
    '/namespaces',
    '/pods',
    '/nodes',
  ])
    assert.match(await refusal(path, '--as=shopper'), /Forbidden/, path);
  assert.match(await refusal(`/namespaces/shop/pods/${web}/edges`, '--as=banker'), /Forbidden/);
  const edges = JSON.stringify(await list(`/namespaces/shop/pods/${web}/edges`, '--as=shopper'));
  assert.match(edges, /"client-/, 'of the own namespace');
  assert.doesNotMatch(edges, /bank|teller/);
});

test('the API is removed with the chart, and namespaces can be deleted afterwards', async () => {
  await run('helm', 'uninstall', 'weft', '-n', 'weft-system', '--wait', '--timeout', '180s');
  assert.equal(await kubectl('get', 'apiservice', apiService, '--ignore-not-found'), '');
  await kubectl('delete', 'namespace', 'bank', '--timeout=90s');
});
