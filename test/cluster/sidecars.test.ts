/** Native sidecars, probes and lifecycle hooks in strict mode. The cluster is as in kubernetes.test.ts. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import {
  applyText,
  given,
  httpGet,
  installChart,
  kubectl,
  packNodeImage,
  releaseCluster,
  run,
  state,
  takeCluster,
} from '../support/cluster.js';

const sides = (...args: string[]): Promise<string> => kubectl('-n', 'sides', ...args);
const nodes = ['node1', 'node2'];

/** A server that responds with its port on each of them. `/log` returns the requests so far. */
const server = (...ports: readonly number[]): string =>
  `const log = []; for (const port of [${ports.join()}]) require('http').createServer((q, s) => { if (q.url === '/log') return s.end(log.join(' ')); log.push(port + q.url); s.end(String(port)); }).listen(port, '::')`;
const container = (name: string, code: string): string => `name: ${name}
      image: docker.io/testcluster/node:1
      command: [node, -e, ${JSON.stringify(code)}]`;
const pod = `apiVersion: v1
kind: Namespace
metadata: { name: sides, labels: { weft.dev/mesh: enabled, weft.dev/mode: strict } }
---
apiVersion: v1
kind: Pod
metadata: { name: app, namespace: sides, labels: { app: app } }
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 5
  initContainers:
    - ${container('proxy', server(9901, 9902, 9903, 9904, 9905))}
      restartPolicy: Always
      ports: [{ name: admin, containerPort: 9901 }, { name: entry, containerPort: 9902 }]
      startupProbe: { httpGet: { path: /startup, port: admin }, periodSeconds: 1 }
      readinessProbe: { tcpSocket: { port: 9903 }, periodSeconds: 1 }
      livenessProbe: { httpGet: { path: /live, port: 9903 }, periodSeconds: 1, timeoutSeconds: 5 }
      lifecycle: { preStop: { httpGet: { path: /stopping, port: admin } } }
    # A postStart hook runs at once, so it has to target a port on which a container listens already.
    - ${container('helper', 'setTimeout(() => 0, 1e9)')}
      restartPolicy: Always
      lifecycle: { postStart: { httpGet: { path: /helper, port: 9905 } } }
    - ${container('setup', 'process.exit(0)')}
  containers:
    - ${container('app', server(8080))}
      ports: [{ name: http, containerPort: 8080 }]
      readinessProbe: { httpGet: { path: /ready, port: http }, periodSeconds: 1 }
      lifecycle:
        postStart: { httpGet: { path: /started, port: 9904 } }
        preStop: { httpGet: { path: /stopping, port: http } }
---
apiVersion: v1
kind: Service
metadata: { name: app, namespace: sides }
spec:
  selector: { app: app }
  ports: [{ name: http, port: 80, targetPort: http }, { name: entry, port: 81, targetPort: entry }]
${nodes
  .map(
    (node) => `---
apiVersion: v1
kind: Pod
metadata: { name: client-${node}, namespace: sides }
spec:
  nodeName: ${node}
  terminationGracePeriodSeconds: 0
  containers:
    - ${container('client', 'setTimeout(() => 0, 1e9)')}
`,
  )
  .join('')}`;
const ask = (from: string, url: string): Promise<string> =>
  sides('exec', from, '--', 'node', '-e', httpGet(url)).catch((error: unknown) => String(error));
/** A request from node1 itself, like one of its kubelet: in the node's cgroups, which the BPF programs of its agent are attached to. */
const askFromNode = (url: string): Promise<string> => {
  const hierarchy = readFileSync('/proc/mounts', 'utf8').match(/ (\S+) cgroup2 /)?.[1];
  const procs = `${hierarchy}/testcluster-${readFileSync(join(state, 'id'), 'utf8').trim()}-node1/cgroup.procs`;
  return run('sh', '-c', 'echo $$ >"$0"; exec node -e "$1"', procs, httpGet(url));
};

before(async () => {
  await takeCluster();
  await packNodeImage();
  await installChart();
});
after(async () => {
  await releaseCluster('sides');
});

test('in strict mode a pod with a native sidecar becomes ready: its probes and lifecycle hooks succeed', async () => {
  await applyText(pod);
  // The pods become ready in the namespace's first enrollment, too.
  await sides('wait', 'pod', '--all', '--for=condition=Ready', '--timeout=90s');
  await until('strict mode is in force', 30_000, async () => {
    const said = await kubectl('get', 'namespace', 'sides', '-o', 'jsonpath={.status.conditions[*].status}');
    return said === 'True';
  });
  await sides('delete', 'pod', 'app', '--wait');
  await applyText(pod);
  await sides('wait', 'pod', '--all', '--for=condition=Ready', '--timeout=60s');
  const restarts = await sides(
    'get',
    'pod',
    'app',
    '-o',
    'jsonpath={.status.initContainerStatuses[*].restartCount} {.status.containerStatuses[*].restartCount}',
  );
  assert.match(restarts, /^[0 ]+$/, 'a refused hook would have restarted its container');
  const proxy = await sides(
    'exec',
    'app',
    '-c',
    'proxy',
    '--',
    'node',
    '-e',
    httpGet('http://localhost:9901/log'),
  );
  assert.match(proxy, /9904\/started/);
  assert.match(proxy, /9905\/helper/);
  assert.match(proxy, /9901\/startup/);
  assert.match(proxy, /9903\/live/);
});

test('a Service whose targetPort is a named port of a sidecar is reached from both nodes', async () => {
  for (const node of nodes) {
    assert.equal(await ask(`client-${node}`, 'http://app:80/'), '8080', node);
    assert.equal(await ask(`client-${node}`, 'http://app:81/'), '9902', node);
  }
});

test('the node reaches the ports of probes and hooks, and no other port of the pod', async () => {
  if (given !== undefined) return;
  const ip = await sides('get', 'pod', 'app', '-o', 'jsonpath={.status.podIP}');
  for (const port of [8080, 9901, 9903, 9904, 9905])
    assert.equal(await askFromNode(`http://${ip}:${port}/`), String(port));
  assert.match(await askFromNode(`http://${ip}:9902/`), /^refused:/);
});

test('preStop hooks succeed in strict mode', async () => {
  const log = sides(
    'exec',
    'app',
    '-c',
    'proxy',
    '--',
    'node',
    '-e',
    "const ask = () => require('http').get('http://localhost:9901/log', (a) => { let t = ''; a.on('data', (d) => (t += d)); a.on('end', () => { if (t.includes('/stopping')) { console.log(t); process.exit(0); } setTimeout(ask, 20); }); }).on('error', () => process.exit(1)); ask();",
  );
  await sides('delete', 'pod', 'app', '--wait=false');
  assert.match(await log, /9901\/stopping/);
});
