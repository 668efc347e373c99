/**
 * SMI's TrafficMetrics on a real cluster: the one of KUBECONFIG, or else one on this machine (test/cluster/up), which is removed afterwards.
 * The tests share the cluster and run in this order.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import {
  gatewayKinds,
  here,
  installChart,
  kubectl,
  refusalOf,
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
const refusal = (path: string, ...as: string[]): Promise<string> =>
  refusalOf('get', '--raw', `${root}${path}`, ...as);
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
  // Read at once: the metrics are those of the last half minute.
  const readAll = async (): Promise<readonly string[]> => {
    const one = (path: string): Promise<Metrics> => read<Metrics>(`/namespaces/shop${path}`);
    const [pods, deployment, service, namespace, edges, to] = await Promise.all([
      list('/namespaces/shop/pods'),
      one('/deployments/web'),
      one('/services/web'),
      one(''),
      list(`/namespaces/shop/pods/${web}/edges`),
      list('/namespaces/bank/deployments/teller/edges'),
    ]);
    const texts = [...pods, deployment, service, namespace].map(
      (item) => `${item.resource.kind} ${item.resource.name} ${counts(item)}`,
    );
    const edgeTexts = [...edges, ...to].map(({ edge, ...item }) => {
      const { kind, namespace: of, name } = edge.resource;
      return `${edge.direction} ${edge.side} ${kind} ${of}/${name} ${counts({ edge, ...item })}`;
    });
    const pod = pods.find(({ resource }) => resource.name === web);
    const isInTime = pod && /^[1-6]\d?s$/.test(pod.window) && value(pod, 'p99_response_latency') !== 0;
    return [...texts, ...edgeTexts, `window ${isInTime}`];
  };
  let last: readonly string[] = [];
  const wanted = [
    `Pod ${web} 40+10`,
    'Deployment web 40+10',
    'Service web 40+10',
    'Namespace shop 40+10',
    `from server Pod shop/${client} 40+0`,
    `from server Pod bank/${teller} 0+10`,
    'to client Deployment shop/web 0+10',
    'window true',
  ];
  await until(
    'the requests are reported',
    60_000,
    async () => {
      last = await readAll();
      return wanted.every((one) => last.includes(one));
    },
    1_000,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${last.join('\n')}`);
  });
  assert.match(
    await kubectl('get', 'pods.metrics.smi-spec.io', '-n', 'shop'),
    /^NAME +PEER +SUCCESS[^]*^web-\S+ /m,
  );
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
