/**
 * A program: starts a control plane with many pods, and measures `weft explain` as a whole command, from its start to its end: by the control
 * plane's socket, and by an API server, in whose place a server of this program passes the request on. Writes what it took as JSON.
 * Usage: node dist/bench/explain/command.js [PODS] [RUNS]
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { until } from '../../src/base/wait.js';
import { distRoot, programs } from '../../src/cli/run.js';
import { controlSocketName } from '../../src/model/control-socket.js';
import { close, createApiServer, listen } from '../../test/support/api-server.js';

const [pods = 10_000, runs = 21] = process.argv.slice(2).map(Number);
const perNamespace = 50;
const perService = 5;
const namespaces = Math.ceil(pods / perNamespace);
const nodes = Math.ceil(pods / 50);

/** Pods, their Services, of which each second one has a waypoint with a route, and policies. */
function* documents(): Generator<string> {
  const json = (one: object): string => JSON.stringify(one);
  for (let n = 0; n < namespaces; n++) {
    const namespace = `ns-${n}`;
    yield json({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: namespace, labels: { 'weft.dev/mesh': 'enabled' } },
    });
    const at = (name: string, labels: object = {}): object => ({ name, namespace, labels });
    const pod = (name: string, labels: object, account: string, number: number): string =>
      json({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: at(name, labels),
        spec: { nodeName: `node-${number % nodes}`, serviceAccountName: account },
        status: {
          phase: 'Running',
          podIPs: [{ ip: `10.${1 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}` }],
          conditions: [{ type: 'Ready', status: 'True' }],
        },
      });
    const service = (name: string, number: number, selector: object, port: number, labels: object): string =>
      json({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: at(name, labels),
        spec: {
          clusterIPs: [`10.100.${(number >> 8) & 255}.${number & 255}`],
          selector,
          ports: [{ port, targetPort: port === 80 ? 8080 : port }],
        },
      });
    const gateway = { 'gateway.networking.k8s.io/gateway-name': 'wp' };
    yield json({
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: at('wp'),
      spec: {
        gatewayClassName: 'weft-waypoint',
        listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
      },
    });
    const first = n * (perNamespace + 16);
    yield pod('wp-0', gateway, 'wp', first + perNamespace);
    yield service('wp', n * 16 + 15, gateway, 15008, {});
    for (let i = 0; i < perNamespace; i++) {
      const app = `app-${Math.floor(i / perService)}`;
      yield pod(`${app}-${i % perService}`, { app }, app, first + i);
      if (i % perService > 0) continue;
      const number = i / perService;
      const hasWaypoint = number % 2 === 1;
      yield service(app, n * 16 + number, { app }, 80, hasWaypoint ? { 'weft.dev/waypoint': 'wp' } : {});
      if (hasWaypoint)
        yield json({
          apiVersion: 'gateway.networking.k8s.io/v1',
          kind: 'HTTPRoute',
          metadata: at(app),
          spec: {
            parentRefs: [{ group: '', kind: 'Service', name: app, port: 80 }],
            rules: [{ backendRefs: [{ name: app, port: 80 }] }],
          },
        });
      yield json({
        apiVersion: 'weft.dev/v1alpha1',
        kind: 'AccessPolicy',
        metadata: at(app),
        spec: {
          action: 'ALLOW',
          selector: { matchLabels: { app } },
          rules: [{ from: [{ namespaces: [namespace] }] }],
        },
      });
    }
  }
}

const dir = mkdtempSync(join(tmpdir(), 'weft-explain-'));
const from = join(dir, 'manifests');
const state = join(dir, 'state');
mkdirSync(from);
mkdirSync(state);
let control: ChildProcess | undefined;
const api = createApiServer((request, response) => {
  const { search } = new URL(request.url ?? '', 'https://localhost');
  get({ socketPath: join(state, controlSocketName), path: `/explanations${search}` }, (answer) => {
    let text = '';
    answer.setEncoding('utf8');
    answer.on('data', (part: string) => (text += part));
    answer.on('end', () => {
      const { explanations } = JSON.parse(text) as { readonly explanations: readonly object[] };
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ items: explanations, sinceMs: 0, missing: [] }));
    });
  });
});

/** Its exit code is that of the outcome. */
const output = (args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> =>
  new Promise((resolve) => {
    const weft = join(distRoot, 'src', 'cli', 'weft.js');
    execFile(process.execPath, [weft, 'explain', ...args, '--json'], { env }, (_error, stdout, stderr) =>
      resolve(stdout + stderr),
    );
  });

async function measured(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  path: string,
  count = runs,
): Promise<object> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const fromMs = performance.now();
    const text = await output(args, env);
    times.push(performance.now() - fromMs);
    if (!text.includes(`"path":"${path}"`) || text.includes('all objects were read'))
      throw new Error(`${args.join(' ')}: ${text}`);
  }
  times.sort((a, b) => a - b);
  const of = (share: number): number => Math.round(times[Math.floor((times.length - 1) * share)] ?? 0);
  return { path, medianMs: of(0.5), p90Ms: of(0.9), minMs: of(0) };
}

/** What the control plane takes for its part. */
async function asked(source: string, destination: string): Promise<object> {
  const times: number[] = [];
  let bytes = 0;
  for (let i = 0; i < runs; i++) {
    const fromMs = performance.now();
    const path = `/explanations?${new URLSearchParams({ source, destination })}`;
    const text = await new Promise<string>((resolve, reject) => {
      get({ socketPath: join(state, controlSocketName), path }, (answer) => {
        let all = '';
        answer.setEncoding('utf8');
        answer.on('data', (part: string) => (all += part));
        answer.on('end', () => resolve(all));
      }).on('error', reject);
    });
    bytes = text.length;
    times.push(performance.now() - fromMs);
  }
  times.sort((a, b) => a - b);
  return { medianMs: Math.round(times[runs >> 1] ?? 0), bytes };
}

try {
  writeFileSync(join(from, 'mesh.yaml'), [...documents()].join('\n---\n'));
  control = spawn(
    process.execPath,
    [programs.control, 'serve', '--from', from, '--state', state, '--listen', '127.0.0.1:0'],
    { stdio: 'ignore' },
  );
  await until('the control plane is ready', 120_000, () => existsSync(join(state, controlSocketName)));
  const kubeconfig = join(dir, 'kubeconfig');
  writeFileSync(kubeconfig, (await listen(api)).exportConfig());
  const ofTestbed: NodeJS.ProcessEnv = { ...process.env };
  delete ofTestbed['KUBECONFIG'];
  const ofCluster = { ...process.env, KUBECONFIG: kubeconfig };
  const [near, far] = [
    ['ns-3/app-1-0', 'ns-3/app-2:80'],
    ['ns-3/app-1-0', 'ns-3/app-3:80'],
  ];
  const byBoth = async (args: readonly string[], env: NodeJS.ProcessEnv): Promise<readonly object[]> => [
    await measured([...near, ...args], env, 'hbone'),
    await measured([...far, ...args], env, 'waypoint'),
  ];
  const report = {
    pods,
    runs,
    controlPlane: await asked(near[0] ?? '', near[1] ?? ''),
    socket: await byBoth(['--state', state], ofTestbed),
    cluster: await byBoth([], ofCluster),
    objects: await measured([...near, '-f', from], ofTestbed, 'hbone', 3),
  };
  console.log(JSON.stringify(report, undefined, 2));
} finally {
  control?.kill();
  close(api);
  rmSync(dir, { recursive: true });
}
