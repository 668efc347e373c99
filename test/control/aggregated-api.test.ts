/**
 * The aggregated API, edges and SMI's TrafficMetrics, through a real API server: its front proxy, its RBAC and its discovery, with the chart's objects and without nodes
 * (test/cluster/up --control-plane-only). The control plane runs on this machine with the rights of its service account.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import type { ChangesAnswer } from '../../src/model/change.js';
import type { EdgeAnswer } from '../../src/model/edge.js';
import { EdgeReportClient } from '../../src/discovery/edge-report-client.js';
import { encodeEdge } from '../../src/discovery/codec/edge.js';
import { applyText, env, gatewayKinds, here, kubectl, refusalOf, run, state } from '../support/cluster.js';
import { callers, podText } from '../support/metrics-readers.js';
import { edge, party } from '../support/edges.js';
import { identity } from '../support/mesh.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-aggregated-api-'));
const chart = join(projectRoot, 'daemonset', 'chart');
const address = '10.99.0.1';
const ports = { discovery: 15_931, metrics: 15_932 } as const;
const log = join(dir, 'log');
let control: ChildProcess | undefined;

const render = (...settings: readonly string[]): Promise<string> =>
  run(
    'helm',
    ...['template', 'weft', chart, '-n', 'weft-system', '--kube-version', '1.33.0', '--no-hooks'],
    ...settings.flatMap((setting) => ['--set', setting]),
  );
interface Rendered {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: { readonly ports?: readonly { readonly name: string }[]; readonly ingress?: unknown };
}
const objectsOf = (text: string): readonly Rendered[] =>
  parseAllDocuments(text)
    .map((document) => document.toJS() as Rendered | null)
    .filter((one) => one !== null);

const logged = (): string => (existsSync(log) ? readFileSync(log, 'utf8') : '');

/** A kubeconfig with a credential of a user: a client certificate, or the token of a service account, `NAMESPACE:NAME`. */
async function kubeconfigOf(user: string): Promise<string> {
  const file = join(dir, `kubeconfig-${user.replace(':', '-')}`);
  if (existsSync(file)) return file;
  const pki = (name: string): string => join(state, 'pki', name);
  const config = (...args: readonly string[]): Promise<string> =>
    run('kubectl', 'config', '--kubeconfig', file, ...args);
  const [namespace = '', account] = user.split(':');
  const credential =
    account === undefined
      ? await clientCertificate(user)
      : [`--token=${await kubectl('-n', namespace, 'create', 'token', account)}`];
  await config(
    'set-cluster',
    'test',
    `--server=https://${address}:6443`,
    `--certificate-authority=${pki('ca.crt')}`,
  );
  await config('set-credentials', 'user', ...credential);
  await config('set-context', 'test', '--cluster=test', '--user=user');
  await config('use-context', 'test');
  return file;
}

async function clientCertificate(user: string): Promise<readonly string[]> {
  const [key, request, certificate] = ['key', 'csr', 'crt'].map((end) => join(dir, `${user}.${end}`));
  const ca = (end: string): string => join(state, 'pki', `ca.${end}`);
  await run(
    ...(['openssl', 'req', '-new', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${user}`] as const),
    ...['-keyout', key ?? '', '-out', request ?? ''],
  );
  await run(
    ...(['openssl', 'x509', '-req', '-in', request ?? '', '-CA', ca('crt'), '-CAkey', ca('key')] as const),
    ...['-set_serial', String(Date.now()), '-days', '1', '-out', certificate ?? ''],
  );
  return [`--client-certificate=${certificate}`, `--client-key=${key}`];
}

/** `weft` with a user's own kubeconfig; undefined: the administrator's. */
async function weftOf(user: string | undefined, ...args: string[]): Promise<string> {
  const file = user === undefined ? env.KUBECONFIG : await kubeconfigOf(user);
  return run(
    'env',
    `KUBECONFIG=${file}`,
    process.execPath,
    join(projectRoot, 'dist/src/cli/weft.js'),
    ...args,
  );
}
const edgesOf = async (user: string | undefined, ...args: string[]): Promise<EdgeAnswer> =>
  JSON.parse(await weftOf(user, 'edges', '--json', ...args)) as EdgeAnswer;
const changesOf = async (user: string | undefined, ...args: string[]): Promise<ChangesAnswer> =>
  JSON.parse(await weftOf(user, 'changes', '--json', ...args)) as ChangesAnswer;
const edgesRefusal = (user: string, ...args: string[]): Promise<string> =>
  weftRefusal(user, 'edges', ...args);
const weftRefusal = (user: string, ...args: string[]): Promise<string> =>
  weftOf(user, ...args).then(
    (text) => assert.fail(`${user} reads ${text}`),
    (error: unknown) => (error as { readonly stderr: string }).stderr,
  );

before(async () => {
  await run(join(here, 'up'), '--control-plane-only');
  await run(process.execPath, join(projectRoot, 'dist/control/main.js'), 'apply-crds');
  await kubectl('apply', '--server-side', '-f', await gatewayKinds());
  await kubectl('create', 'namespace', 'weft-system');
  writeFileSync(join(dir, 'chart.yaml'), await render('smi.metrics=true'));
  await kubectl('apply', '-n', 'weft-system', '-f', join(dir, 'chart.yaml'));
  const account = (namespace: string): string =>
    `---\napiVersion: v1\nkind: Namespace\nmetadata: { name: ${namespace}, labels: { weft.dev/mesh: enabled } }\n`;
  await applyText(`apiVersion: v1\nkind: Node\nmetadata: { name: n1 }\n${account('shop')}${account('bank')}`);
  await until('the namespaces have service accounts', 30_000, () =>
    kubectl('get', 'serviceaccount', 'default', '-n', 'bank').catch(() => ''),
  );
  await applyText(`${callers}---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: weft-control-here, namespace: weft-system, labels: { kubernetes.io/service-name: weft-control } }
addressType: IPv4
endpoints: [{ addresses: [${address}], conditions: { ready: true } }]
ports: [{ name: https-api, port: ${ports.metrics}, protocol: TCP }]
`);
  for (const [namespace, name, ip] of [
    ['shop', 'web', '10.0.0.1'],
    ['bank', 'vault', '10.0.0.2'],
  ] as const) {
    const status = JSON.stringify({ status: { podIP: ip, podIPs: [{ ip }] } });
    await kubectl('patch', 'pod', name, '-n', namespace, '--subresource=status', '-p', status);
  }
  const args = [
    join(projectRoot, 'dist/control/main.js'),
    'serve',
    '--kubernetes',
    '--identity=here',
    `--state=${join(dir, 'state')}`,
    `--listen=${address}:${ports.discovery}`,
    `--api-listen=${address}:${ports.metrics}`,
    '--api-groups=observe.weft.dev',
    '--api-groups=metrics.smi-spec.io',
  ];
  control = spawn('/bin/sh', ['-c', `exec "$0" "$@" 2>>${log}`, process.execPath, ...args], {
    env: { ...env, KUBECONFIG: await kubeconfigOf('weft-system:weft-control') },
    stdio: 'ignore',
  });
  await until('the control plane serves', 60_000, () => {
    const text = logged();
    assert.equal(control?.exitCode, null, text.slice(-1000));
    return text.includes('"ready"');
  });
});
after(async () => {
  control?.kill('SIGKILL');
  await run(join(here, 'down'));
  rmSync(dir, { recursive: true, force: true });
});

const root = '/apis/metrics.smi-spec.io/v1alpha1';
const raw = (path: string, ...as: string[]): Promise<string> =>
  kubectl('get', '--raw', `${root}${path}`, ...as);
const refusal = (path: string, ...as: string[]): Promise<string> =>
  refusalOf('get', '--raw', `${root}${path}`, ...as);
const available = (): Promise<string> =>
  kubectl(
    ...['get', 'apiservice', 'v1alpha1.metrics.smi-spec.io'],
    ...['-o', 'jsonpath={.status.conditions[?(@.type=="Available")].status}'],
  );
const isAvailable = (): Promise<true> =>
  until('the APIService is available', 90_000, async () => (await available()) === 'True').catch(
    async (error: unknown) => {
      throw new Error(
        `${String(error)}\n${await kubectl('get', 'apiservice', 'v1alpha1.metrics.smi-spec.io', '-o', 'yaml')}\n${logged().slice(-2000)}`,
      );
    },
  );
const namesOf = (text: string): readonly string[] =>
  (
    JSON.parse(text) as { readonly items: readonly { readonly metadata: { readonly name: string } }[] }
  ).items.map(({ metadata }) => metadata.name);

test('without the settings the chart has nothing of it', async () => {
  assert.doesNotMatch(await render('networkPolicy.enabled=true'), /metrics\.smi-spec\.io/);
  const none = await render('networkPolicy.enabled=true', 'observe.api=false');
  assert.doesNotMatch(none, /metrics\.smi-spec\.io|observe\.weft\.dev|https-api|subjectaccessreviews|--api-/);
});

test('with the settings the control plane may patch these APIServices alone, and its port is open', async () => {
  const objects = objectsOf(await render('smi.metrics=true', 'networkPolicy.enabled=true'));
  const find = (kind: string, name: string): Rendered | undefined =>
    objects.find((one) => one.kind === kind && one.metadata.name === name);
  assert.ok(find('APIService', 'v1alpha1.metrics.smi-spec.io'));
  assert.deepEqual(
    find('Service', 'weft-control')?.spec?.ports?.map(({ name }) => name),
    ['grpc-xds', 'https-api'],
  );
  assert.match(JSON.stringify(find('NetworkPolicy', 'weft-control')?.spec?.ingress), /https-api/);
  const control = ['--as=system:serviceaccount:weft-system:weft-control'];
  const may = (...what: string[]): Promise<string> =>
    kubectl('auth', 'can-i', ...what, ...control).catch((error: unknown) =>
      (error as { readonly stdout: string }).stdout.trim(),
    );
  assert.equal(await may('patch', 'apiservices/v1alpha1.metrics.smi-spec.io'), 'yes');
  assert.equal(await may('patch', 'apiservices/v1alpha1.observe.weft.dev'), 'yes');
  assert.equal(await may('patch', 'apiservices/v1.apps'), 'no');
  assert.equal(await may('create', 'apiservices'), 'no');
  assert.equal(await may('create', 'subjectaccessreviews.authorization.k8s.io'), 'yes');
});

test('the leader writes the roots, and the API becomes available', async () => {
  await isAvailable();
  const resources = await kubectl('api-resources', '--api-group=metrics.smi-spec.io', '--no-headers');
  assert.equal(resources.split('\n').length, 11, resources);
});

test('an administrator reads the metrics of a namespace, of a pod, its edges, and as a table', async () => {
  assert.deepEqual(namesOf(await raw('/namespaces/shop/pods')), ['web']);
  assert.deepEqual(
    namesOf(await raw('/pods')).filter((name) => name === 'web' || name === 'vault'),
    ['vault', 'web'],
  );
  const one = JSON.parse(await raw('/namespaces/shop/pods/web')) as Record<string, unknown>;
  assert.equal(one['kind'], 'TrafficMetrics');
  assert.deepEqual(namesOf(await raw('/namespaces/shop/pods/web/edges')), []);
  const table = await kubectl('get', 'pods.metrics.smi-spec.io', '-n', 'shop');
  assert.match(table, /^NAME +PEER +SUCCESS +RPS +P50 +P90 +P99\nweb +- +0\.0rps/);
  assert.match(await kubectl('get', 'pods.metrics.smi-spec.io', '-n', 'shop', '-l', 'app=none'), /^$/);
});

test('what a waypoint reports is counted: for the pod, its Service, its namespace, and on both ends of the edge', async () => {
  await applyText(podText('shop', 'wp-1', 'wp'));
  const token = await kubectl(
    ...['-n', 'shop', 'create', 'token', 'wp', '--audience=istio-ca'],
    ...['--bound-object-kind=Pod', '--bound-object-name=wp-1'],
  );
  const client = new EdgeReportClient({
    target: `${address}:${ports.discovery}`,
    rootPem: () => readFileSync(join(dir, 'state', 'root-cert.pem'), 'utf8'),
    token: () => token,
  });
  const nowMs = Date.now();
  const reported = edge(
    {
      reporter: 'waypoint',
      path: 'waypoint',
      source: party('bank', 'vault', { identity: identity('bank', 'default') }),
      destination: party('shop', 'web', { identity: identity('shop', 'default') }),
      service: 'web.shop.svc.cluster.local',
      method: 'GET',
      pathTemplate: '/orders/*',
    },
    { requests: 20, failures: 5, latencyCounts: [0, 0, 20], lastSeenMs: nowMs },
  );
  let number = 0;
  await until('the report is taken', 60_000, () =>
    client
      .send({
        program: 'p',
        number: ++number,
        fromMs: nowMs - 10_000,
        toMs: nowMs,
        edges: [encodeEdge(reported)],
      })
      .then(
        () => true,
        () => false,
      ),
  );
  client.close();
  const countsOf = async (path: string): Promise<string> => {
    const { metrics } = JSON.parse(await raw(path)) as {
      readonly metrics: readonly { readonly name: string; readonly value: string }[];
    };
    return metrics.map(({ name, value }) => `${name.split('_')[0]} ${value}`).join(', ');
  };
  const counted = 'p99 4960m, p90 4600m, p50 3, success 15, failure 5';
  // Requests of the same second share what was read before.
  await until(
    'the report is counted',
    30_000,
    async () => (await countsOf('/namespaces/shop/pods/web')) === counted,
  );
  assert.equal(await countsOf('/namespaces/shop'), counted);
  const edges = async (path: string): Promise<unknown> =>
    (JSON.parse(await raw(path)) as { readonly items: readonly { readonly edge: unknown }[] }).items.map(
      (one) => one.edge,
    );
  assert.deepEqual(await edges('/namespaces/shop/pods/web/edges'), [
    { direction: 'from', side: 'server', resource: { kind: 'Pod', namespace: 'bank', name: 'vault' } },
  ]);
  const to = { direction: 'to', side: 'client', resource: { kind: 'Pod', namespace: 'shop', name: 'web' } };
  assert.deepEqual(
    await until('the other end has the edge', 30_000, async () => {
      const found = (await edges('/namespaces/bank/pods/vault/edges')) as readonly unknown[];
      return found.length > 0 && found;
    }),
    [to],
  );
  assert.match(await kubectl('get', 'pods.metrics.smi-spec.io', '-n', 'shop'), /^web +75\.00%/m);
});

test('forbidden: a user without the right reads metrics; a viewer of one namespace reads those of another', async () => {
  assert.match(await refusal('/namespaces/shop/pods', '--as=mallory'), /Forbidden/);
  await until('the aggregated role is in force', 30_000, () =>
    raw('/namespaces/shop/pods', '--as=shopper').catch(() => ''),
  );
  assert.ok(namesOf(await raw('/namespaces/shop/pods', '--as=shopper')).includes('web'));
  await raw('/namespaces/shop', '--as=shopper');
  await raw('/namespaces/shop/edges', '--as=shopper');
  assert.doesNotMatch(await raw('/namespaces/shop/pods/web/edges', '--as=shopper'), /bank|vault/);
  for (const path of [
    '/namespaces/bank/pods',
    '/namespaces/bank/pods/vault',
    '/namespaces/bank/pods/vault/edges',
    '/namespaces/bank',
    '/namespaces/bank/edges',
    '/namespaces',
    '/pods',
    '/nodes',
  ])
    assert.match(await refusal(path, '--as=shopper'), /Forbidden/, path);
});

test('weft edges reads as far as the caller may list edges: with a client certificate or a token, of a namespace or of all', async () => {
  const named = ({ edges }: EdgeAnswer): readonly string[] =>
    edges.map(
      ({ source, destination }) =>
        `${source.pod} ${source.identity} ${destination.pod} ${destination.identity}`,
    );
  const [vault, web] = ['bank/sa/default', 'shop/sa/default'].map(
    (one) => `spiffe://cluster.local/ns/${one}`,
  );
  const all = [`vault ${vault} web ${web}`];
  await until('the role is in force', 30_000, () => edgesOf('auditor').catch(() => undefined));
  assert.deepEqual(named(await edgesOf(undefined)), all, 'the administrator');
  assert.deepEqual(named(await edgesOf('auditor')), all, 'who may list those of all namespaces');
  assert.deepEqual(named(await edgesOf('auditor', '-n', 'shop')), all);
  // Of a peer elsewhere a reader sees what the own pods see: its identity.
  assert.deepEqual(named(await edgesOf('shopper', '-n', 'shop')), [` ${vault} web ${web}`]);
  assert.deepEqual(named(await edgesOf('bank:default', '-n', 'bank')), [`vault ${vault}  ${web}`]);
  assert.deepEqual(named(await edgesOf('auditor', '-n', 'empty')), []);
  const observed = await weftOf('shopper', 'policy', 'observe', '-n', 'shop');
  const table = await kubectl('get', 'edges.observe.weft.dev', '-n', 'shop', '--as=shopper');
  assert.match(
    table,
    /^CLIENT +CALLS +PORT +REQUEST[^]*\/bank\/sa\/default +shop\/web +8080 +GET \/orders\/\*/,
  );
  assert.match(observed, /cluster\.local\/ns\/bank\/sa\/default +shop\/web +8080 +GET \/orders\/\*/);
});

test('forbidden: edges are read without the right for the namespace, or all of them with the right for one; the message names the right', async () => {
  const right =
    /Forbidden|forbidden: User "\S+" cannot list resource "edges" in API group "observe\.weft\.dev"/;
  for (const [user, ...args] of [
    ['mallory', '-n', 'shop'],
    ['mallory'],
    ['shopper', '-n', 'bank'],
    ['shopper'],
    ['bank:default', '-n', 'shop'],
    // Port-forwards to the control plane show nothing.
    ['forwarder', '-n', 'shop'],
  ] as const) {
    const text = await edgesRefusal(user, ...args);
    assert.match(text, right, `${user} ${args.join(' ')}`);
    assert.match(text, /ClusterRole weft-edges-reader/);
    assert.doesNotMatch(text, /vault|orders/);
  }
  assert.match(await edgesRefusal('shopper'), /at the cluster scope.*bind it in the cluster, or give -n/);
  assert.match(
    await edgesRefusal('shopper', '-n', 'bank'),
    /in the namespace "bank".*bind it in namespace bank/,
  );
});

test('weft changes reads as far as the caller may list changes', async () => {
  const policy = (namespace: string): string =>
    `---\n{ apiVersion: weft.dev/v1alpha1, kind: AccessPolicy, metadata: { name: changed, namespace: ${namespace} }, spec: { action: DENY, rules: [{ from: [{ identities: ['*/sa/x'] }] }] } }\n`;
  await applyText(`${policy('shop')}${policy('bank')}`);
  const named = ({ changes }: ChangesAnswer): readonly string[] =>
    changes
      .filter(({ name }) => name === 'changed')
      .map(({ kind, namespace, operation, by }) => `${kind} ${namespace} ${operation} ${by}`)
      .sort();
  const [bank, shop] = ['bank', 'shop'].map(
    (namespace) => `AccessPolicy ${namespace} created kubectl-client-side-apply`,
  );
  await until('the changes are known', 30_000, async () => named(await changesOf(undefined)).length === 2);
  assert.deepEqual(named(await changesOf('auditor')), [bank, shop]);
  assert.deepEqual(named(await changesOf('auditor', '-n', 'bank')), [bank]);
  assert.deepEqual(named(await changesOf('shopper', '-n', 'shop')), [shop]);
  assert.deepEqual(named(await changesOf('bank:default', '-n', 'bank')), [bank]);
  assert.match(
    await kubectl('get', 'changes.observe.weft.dev', '-n', 'shop', '--as=shopper'),
    /^NAME +KIND +CHANGE +TIME +BY +ACKNOWLEDGED\n[^]*changed +AccessPolicy +created +\S+ +kubectl-client-side-apply +0 of 0/,
  );
});

test('forbidden: changes are read without the right for the namespace, or all of them with the right for one', async () => {
  for (const [user, ...args] of [
    ['mallory', '-n', 'shop'],
    ['mallory'],
    ['shopper', '-n', 'bank'],
    ['shopper'],
    ['bank:default', '-n', 'shop'],
    ['forwarder', '-n', 'shop'],
  ] as const) {
    const text = await weftRefusal(user, 'changes', ...args);
    assert.match(text, /cannot list resource "changes" in API group "observe\.weft\.dev"/, user);
    assert.match(text, /ClusterRole weft-edges-reader/);
  }
});

/** A direct connection to the port, as a pod of the cluster can open one. */
const direct = (options: https.RequestOptions): Promise<number> =>
  new Promise((resolve, reject) => {
    https
      .get(
        {
          host: address,
          port: ports.metrics,
          path: `${root}/pods`,
          rejectUnauthorized: false,
          agent: false,
          ...options,
        },
        (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode ?? 0));
        },
      )
      .on('error', reject);
  });

test('forbidden: a client that is not the front proxy is served, also with another certificate of its CA', async () => {
  const headers = { 'x-remote-user': 'admin', 'x-remote-group': 'system:masters' };
  const pki = (name: string): https.RequestOptions => ({
    key: readFileSync(join(state, 'pki', `${name}.key`)),
    cert: readFileSync(join(state, 'pki', `${name}.crt`)),
  });
  assert.equal(await direct({ headers }), 401);
  assert.equal(await direct({ headers, ...pki('admin') }), 401);
  assert.equal(await direct({ headers, ...pki('aggregator') }), 200, 'the front proxy itself');
  assert.equal(await direct(pki('aggregator')), 401, 'without a user');
});

test('roots that somebody removes from the APIService are written again', async () => {
  await kubectl(
    ...['patch', 'apiservice', 'v1alpha1.metrics.smi-spec.io', '--type=json'],
    ...['-p', '[{"op":"remove","path":"/spec/caBundle"}]'],
  );
  await until('the roots are written again', 90_000, () =>
    kubectl('get', 'apiservice', 'v1alpha1.metrics.smi-spec.io', '-o', 'jsonpath={.spec.caBundle}'),
  );
  await isAvailable();
});
