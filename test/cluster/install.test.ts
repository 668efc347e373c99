/** Installation and uninstall under load, with namespaces that are already labeled strict. The cluster is as in kubernetes.test.ts. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import {
  applyText,
  chartValues,
  env,
  gatewayKinds,
  given,
  httpGet,
  installChart,
  kubectl,
  packNodeImage,
  releaseCluster,
  run,
  state,
  system,
  takeCluster,
  weft,
} from '../support/cluster.js';

const nodes = ['node1', 'node2'];

/** A server and a client on each node. Each client sends requests to both servers, on a new connection each time and on a kept one. */
const load = (namespace: string, labels: string): string => `apiVersion: v1
kind: Namespace
metadata: { name: ${namespace}, labels: { ${labels} } }
---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: ${namespace} }
spec: { selector: { app: api }, ports: [{ name: http, port: 80, targetPort: http }] }
${nodes
  .flatMap((node) => [
    pod(namespace, `api-${node}`, 'api', node, server),
    pod(namespace, `web-${node}`, 'web', node, client),
  ])
  .join('')}`;
const pod = (namespace: string, name: string, app: string, node: string, code: string): string => `---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: ${namespace}, labels: { app: ${app} } }
spec:
  nodeName: ${node}
  terminationGracePeriodSeconds: 1
  containers:
    - name: ${app}
      image: docker.io/testcluster/node:1
      command: [node, -e, ${JSON.stringify(code)}]
      ports: [{ name: http, containerPort: ${app === 'api' ? 8080 : 9000} }]
      readinessProbe: { httpGet: { path: /, port: http }, periodSeconds: 1 }
`;
const server = `require('http').createServer((q, s) => s.end('ok')).listen(8080, '::')`;
const client = `
const http = require('http');
const said = { good: 0, bad: 0, errors: [] };
const ask = (agent, again) => {
  const call = http.get('http://api/', { agent, timeout: 5000 }, (a) => {
    a.resume();
    a.on('end', () => { said.good++; setTimeout(ask, again, agent, again); });
    a.on('error', (e) => call.destroy(e));
  });
  let over = false;
  call.on('timeout', () => call.destroy(new Error('timeout')));
  call.on('error', (e) => {
    if (over) return;
    over = true;
    said.bad++;
    said.errors = [...said.errors, new Date().toISOString() + ' ' + (agent ? 'kept ' : '') + e.message].slice(-20);
    setTimeout(ask, again, agent, again);
  });
};
ask(false, 10); ask(false, 10);
http.createServer((q, s) => s.end(JSON.stringify(said))).listen(9000, '::');`;

interface ClientResults {
  readonly good: number;
  readonly bad: number;
  readonly errors: readonly string[];
}
const exec = (namespace: string, name: string, code: string): Promise<string> =>
  kubectl('-n', namespace, 'exec', name, '--', 'node', '-e', code);
/** Results so far of the clients of a namespace. */
async function clientResults(namespace: string): Promise<ClientResults> {
  const all = await Promise.all(
    nodes.map(async (node) => {
      const text = await exec(namespace, `web-${node}`, httpGet('http://localhost:9000/'));
      return { node, ...(JSON.parse(text) as ClientResults) };
    }),
  );
  return {
    good: all.reduce((sum, { good }) => sum + good, 0),
    bad: all.reduce((sum, { bad }) => sum + bad, 0),
    errors: all.flatMap(({ node, errors }) => errors.map((error) => `${node}: ${error}`)),
  };
}
/** Follows the agents' logs for refused connections, as the agents may be gone when a failure is reported. */
async function followRefusals(): Promise<{ readonly lines: string[]; stop(): void }> {
  const lines: string[] = [];
  const pods = (await system('get', 'pod', '-l', 'app=weft-agent', '-o', 'name')).split('\n');
  const children = pods.map((pod) => {
    const child = spawn('kubectl', ['-n', 'weft-system', 'logs', '-f', '--since=1s', pod], { env });
    let rest = '';
    child.stdout.on('data', (part: Buffer) => {
      const all = (rest + part.toString()).split('\n');
      rest = all.pop() ?? '';
      lines.push(...all.filter((line) => /"path":"refused"|"level":[45]0/.test(line)));
    });
    return child;
  });
  return { lines, stop: () => children.forEach((child) => child.kill()) };
}

/** Waits for `count` more responses than in `before`, and asserts that no request has failed. */
async function assertNoFailures(
  namespace: string,
  before: ClientResults,
  why: readonly string[] = [],
  count = 200,
): Promise<void> {
  const now = await until(`${count} more responses`, 60_000, async () => {
    const found = await clientResults(namespace);
    return found.good - before.good >= count && found;
  });
  assert.equal(now.bad - before.bad, 0, [...now.errors, ...why.slice(-20)].join('\n'));
}

const condition = async (
  namespace: string,
): Promise<{ status?: string; reason?: string; message?: string }> =>
  JSON.parse(
    (await kubectl(
      'get',
      'namespace',
      namespace,
      '-o',
      'jsonpath={.status.conditions[?(@.type=="weft.dev/Enrolled")]}',
    )) || '{}',
  ) as { status?: string; reason?: string; message?: string };
const enrolled = (namespace: string): Promise<unknown> =>
  until(`${namespace} is enrolled`, 90_000, async () => (await condition(namespace)).status === 'True');

/** Asserts that strict mode is in force: a client outside of the mesh is refused on either node. */
async function outsiderIsRefused(namespace: string): Promise<void> {
  const ips = (
    await kubectl('-n', namespace, 'get', 'pod', '-l', 'app=api', '-o', 'jsonpath={.items[*].status.podIP}')
  ).split(' ');
  assert.equal(ips.length, nodes.length);
  for (const ip of ips)
    assert.match(await exec('default', 'outsider', httpGet(`http://${ip}:8080/`)), /^refused:/, ip);
}

before(async () => {
  await takeCluster();
  await packNodeImage();
  await kubectl('apply', '--server-side', '-f', await gatewayKinds());
  await applyText(
    load('shop', 'weft.dev/mesh: enabled, weft.dev/mode: strict') +
      load('late', 'team: late').replace(/^/, '---\n') +
      pod(
        'default',
        'outsider',
        'web',
        'node1',
        "require('http').createServer((q, s) => s.end()).listen(9000)",
      ),
  );
  for (const namespace of ['shop', 'late', 'default'])
    await kubectl('-n', namespace, 'wait', 'pod', '--all', '--for=condition=Ready', '--timeout=90s');
});
after(async () => {
  await releaseCluster('shop', 'late');
});

test('helm install over a namespace that is labeled strict: no request fails, then plaintext is refused', async () => {
  const start = await clientResults('shop');
  await installChart();
  await enrolled('shop');
  await assertNoFailures('shop', start);
  await outsiderIsRefused('shop');
  const { reason, message } = await condition('shop');
  assert.deepEqual([reason, message], ['Enrolled', 'in the mesh: strict mode is in force']);
});

test('a namespace with pods on two nodes is labeled as enrolled and strict at once: no request fails', async () => {
  const start = await clientResults('late');
  await kubectl('label', 'namespace', 'late', 'weft.dev/mesh=enabled', 'weft.dev/mode=strict');
  await enrolled('late');
  await assertNoFailures('late', start);
  await outsiderIsRefused('late');
});

test('strict mode stays in force while the control plane and the agents are replaced', async () => {
  await system('rollout', 'restart', 'deploy/weft-control', 'ds/weft-agent');
  // During the rollout.
  for (let i = 0; i < 10; i++) {
    await outsiderIsRefused('shop');
    await sleep(1_000);
  }
  await system('rollout', 'status', 'deploy/weft-control', '--timeout=90s');
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=90s');
  await outsiderIsRefused('shop');
  assert.equal((await condition('shop')).status, 'True');
});

const jsonpath = (type: string): string =>
  `jsonpath={.items[*].status.conditions[?(@.type=="${type}")].status}`;
/** Files and pins of Weft that are left on a node. */
async function leftOn(node: string): Promise<string> {
  return run(
    'nsenter',
    `--mount=${join(state, 'mnt', node)}`,
    'sh',
    '-c',
    'ls /sys/fs/bpf | grep weft; find /run/weft /var/lib/weft -mindepth 1; grep -rl weft /etc/cni/net.d; ls /opt/cni/bin | grep weft; true',
  );
}
async function assertGone(): Promise<void> {
  await until('the agents are gone', 60_000, async () =>
    (await system('get', 'pod', '-l', 'app=weft-agent', '-o', 'name')) === '' ? true : undefined,
  );
  assert.doesNotMatch(await kubectl('get', 'gateways', '-A', '-o', jsonpath('Programmed')), /True/);
  assert.doesNotMatch(await kubectl('get', 'pods', '-A', '-o', jsonpath('weft.dev/captured')), /True/);
  assert.doesNotMatch(await kubectl('get', 'accesspolicies', '-A', '-o', jsonpath('Accepted')), /True/);
  assert.equal(await kubectl('get', 'namespaces', '-o', jsonpath('weft.dev/Enrolled')), '');
  if (given !== undefined) return;
  const mounted = readdirSync(join(state, 'mnt')).filter((name) => /^node\d+$/.test(name));
  assert.ok(mounted.length > 0);
  for (const node of mounted) assert.equal(await leftOn(node), '', node);
}

test('helm uninstall under load: no request fails, nothing is left on the nodes, and no condition claims that an object is in force', async () => {
  await applyText(`apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-outsider, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ namespaces: [default] }] }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: late }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`);
  await kubectl('-n', 'late', 'wait', 'gateway/waypoint', '--for=condition=Programmed', '--timeout=90s');
  await kubectl(
    '-n',
    'shop',
    'wait',
    'accesspolicy/no-outsider',
    '--for=condition=Accepted',
    '--timeout=30s',
  );
  const refusals = await followRefusals();
  const start = { shop: await clientResults('shop'), late: await clientResults('late') };
  await run('helm', 'uninstall', 'weft', '-n', 'weft-system', '--wait', '--timeout', '180s');
  refusals.stop();
  await assertNoFailures('shop', start.shop, refusals.lines);
  await assertNoFailures('late', start.late, refusals.lines);
  await assertGone();
  await assertNoFailures('shop', start.shop);
  await assertNoFailures('late', start.late);
});

test('the same with weft install and weft uninstall', async () => {
  const start = { shop: await clientResults('shop'), late: await clientResults('late') };
  // The exit code is that of weft status, and an agent may need a moment more to become ready.
  await weft('install', '--', ...chartValues).catch(() => undefined);
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=60s');
  await enrolled('shop');
  await enrolled('late');
  await assertNoFailures('shop', start.shop);
  await assertNoFailures('late', start.late);
  await outsiderIsRefused('shop');
  const refusals = await followRefusals();
  await weft('uninstall');
  refusals.stop();
  await assertNoFailures('shop', start.shop, refusals.lines);
  await assertNoFailures('late', start.late, refusals.lines);
  await assertGone();
});
