/**
 * The control plane at scale: nodes, services and pods written into a real API server (one that is given by KUBECONFIG, else
 * test/cluster without nodes), discovery streams of as many nodes, changes at a fixed rate.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parse } from 'yaml';
import { projectRoot } from '../../native/index.js';
import { loadKubeConfig } from '../../src/kubernetes/config.js';
import { sleep, until } from '../../src/base/wait.js';
import { processCpuSeconds } from '../harness/cost.js';
import { connect, each, type Call } from './api.js';

export interface ControlOptions {
  readonly pods: number;
  readonly services: number;
  readonly nodes: number;
  /** Changes per second, and for how long. */
  readonly rate: number;
  readonly seconds: number;
  readonly onProgress: (text: string) => void;
}

export interface ControlReport extends Omit<ControlOptions, 'onProgress'> {
  /** Time from the write until a node has the change, over all nodes and changes. */
  readonly changeMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Delivered changes, of rate x seconds x nodes. */
  readonly delivered: number;
  readonly changesPerSecond: number;
  /** Time from the start of the control plane's process until the last node has everything. */
  readonly coldStartMs: number;
  /** Time from the reconnection of all nodes at once until the last one has everything again. */
  readonly reconnectMs: number;
  readonly residentBytes: { readonly settled: number; readonly peak: number; readonly reconnectPeak: number };
  /** CPUs that the control plane used during the changes. */
  readonly cpu: number;
}

const port = 15912;
const namespaces = 20;
const atOnce = 24;

const status = (pid: number, field: string): number =>
  Number(
    new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0,
  ) * 1024;
const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

async function fill(call: Call, options: ControlOptions): Promise<void> {
  const { onProgress } = options;
  const tryCall: Call = (...args) =>
    call(...args).catch((error: unknown) => {
      if (!String(error).includes(' 409 ')) throw error;
      return undefined;
    });
  for (const name of ['weft-system', ...Array.from({ length: namespaces }, (_, i) => `scale-${i}`)]) {
    const labels = name === 'weft-system' ? {} : { 'weft.dev/mesh': 'enabled' };
    // Fake nodes report no pods: without it the first enrollment of the mesh would be measured.
    const annotations = { 'weft.dev/first-enrollment': 'closed' };
    await tryCall('POST', '/api/v1/namespaces', { metadata: { name, labels, annotations } });
  }
  for (const [namespace, name] of [
    ['weft-system', 'weft-agent'],
    ...Array.from({ length: namespaces }, (_, i) => [`scale-${i}`, 'default']),
  ])
    await tryCall('POST', `/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name } });
  onProgress(`writing ${options.nodes} nodes, ${options.services} services, ${options.pods} pods`);
  await each(options.nodes, atOnce, (i) =>
    tryCall('POST', '/api/v1/nodes', {
      metadata: { name: `n${i}`, labels: { 'topology.kubernetes.io/zone': `z${i % 3}` } },
    }),
  );
  await each(options.services, atOnce, (i) =>
    tryCall('POST', `/api/v1/namespaces/scale-${i % namespaces}/services`, {
      metadata: { name: `s${i}` },
      spec: { selector: { app: `s${i}` }, ports: [{ port: 80, targetPort: 8080 }] },
    }),
  );
  const pod = (name: string, node: number, labels: object, serviceAccountName: string): object => ({
    metadata: { name, labels },
    spec: {
      nodeName: `n${node}`,
      serviceAccountName,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      // Nobody runs these nodes: their pods are not to be evicted meanwhile.
      tolerations: [{ operator: 'Exists' }],
      containers: [{ name: 'app', image: 'app', ports: [{ containerPort: 8080 }] }],
    },
  });
  await each(options.nodes, atOnce, (i) =>
    tryCall('POST', '/api/v1/namespaces/weft-system/pods', pod(`agent-${i}`, i, {}, 'weft-agent')),
  );
  await each(options.pods, atOnce, async (i) => {
    const service = i % options.services;
    const namespace = `scale-${service % namespaces}`;
    const path = `/api/v1/namespaces/${namespace}/pods`;
    await tryCall('POST', path, pod(`p${i}`, i % options.nodes, { app: `s${service}` }, 'default'));
    const ip = `10.${100 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;
    const conditions = [{ type: 'Ready', status: 'True' }];
    await call(
      'PATCH',
      `${path}/p${i}/status`,
      { status: { phase: 'Running', podIP: ip, podIPs: [{ ip }], conditions } },
      'application/merge-patch+json',
    );
  });
}

/** Tokens as a kubelet projects them: bound to the agent's pod of each node. */
async function tokensOf(call: Call, nodes: number): Promise<{ node: string; token: string }[]> {
  const tokens: { node: string; token: string }[] = [];
  await each(nodes, atOnce, async (i) => {
    const path = '/api/v1/namespaces/weft-system';
    const { metadata } = (await call('GET', `${path}/pods/agent-${i}`)) as { metadata: { uid: string } };
    const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name: `agent-${i}`, uid: metadata.uid };
    const made = (await call('POST', `${path}/serviceaccounts/weft-agent/token`, {
      spec: { audiences: ['istio-ca'], expirationSeconds: 7200, boundObjectRef },
    })) as { status: { token: string } };
    tokens.push({ node: `n${i}`, token: made.status.token });
  });
  return tokens;
}

class Nodes {
  readonly #child: ChildProcess;
  readonly #answers: ((line: string) => void)[] = [];
  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, [join(projectRoot, 'dist/bench/control/nodes.js'), ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = this.#child.stdout;
    if (lines) createInterface({ input: lines }).on('line', (line) => this.#answers.shift()?.(line));
  }
  ask(what: string): Promise<{ synced: number; resources: number; delaysMs?: number[] }> {
    return new Promise((resolve, reject) => {
      if (this.#child.exitCode !== null) return reject(new Error('the process of the nodes has ended'));
      const onEnd = (): void => reject(new Error('the process of the nodes has ended'));
      this.#child.once('exit', onEnd);
      this.#answers.push((line) => {
        this.#child.off('exit', onEnd);
        resolve(JSON.parse(line) as { synced: number; resources: number });
      });
      this.#child.stdin?.write(`${JSON.stringify({ do: what })}\n`);
    });
  }
  async allSynced(count: number, sinceMs: number): Promise<number> {
    await until('every node has everything', 180_000, async () => (await this.ask('state')).synced === count);
    return Date.now() - sinceMs;
  }
  end(): void {
    this.#child.kill();
  }
}

export async function runControl(options: ControlOptions): Promise<ControlReport> {
  const { onProgress } = options;
  const up = join(projectRoot, 'test/cluster/up');
  const own = process.env['KUBECONFIG'] === undefined;
  if (own) {
    onProgress('an API server comes up');
    execFileSync(up, ['--nodes', '0'], { stdio: ['ignore', 'ignore', 'inherit'] });
    process.env['KUBECONFIG'] = join(
      process.env['CLUSTER_STATE'] ?? '/var/lib/testcluster',
      'admin.kubeconfig',
    );
  }
  const dir = mkdtempSync(join(tmpdir(), 'weft-scale-'));
  const api = await connect(await loadKubeConfig(), atOnce);
  const started: ChildProcess[] = [];
  let nodes: Nodes | undefined;
  try {
    // All that the chart brings: a control plane is not ready without one of them.
    const crds = join(projectRoot, 'daemonset', 'chart', 'crds');
    for (const entry of readdirSync(crds)) {
      const file = join(crds, entry);
      const name = (parse(readFileSync(file, 'utf8')) as { metadata: { name: string } }).metadata.name;
      await api.call(
        'PATCH',
        `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}?fieldManager=bench`,
        parse(readFileSync(file, 'utf8')) as object,
        'application/apply-patch+yaml',
      );
    }
    await fill(api.call, options);
    const tokens = await tokensOf(api.call, options.nodes);
    writeFileSync(join(dir, 'tokens'), JSON.stringify(tokens), { mode: 0o600 });
    const state = join(dir, 'state');
    const log = join(dir, 'control.log');
    const begin = (): ChildProcess => {
      const child = spawn(
        '/bin/sh',
        [
          '-c',
          `exec "$0" "$@" 2>>${log}`,
          process.execPath,
          join(projectRoot, 'dist/control/main.js'),
          'serve',
          '--kubernetes',
          `--state=${state}`,
          `--listen=127.0.0.1:${port}`,
        ],
        { stdio: 'ignore' },
      );
      started.push(child);
      return child;
    };
    // A first start creates the keys, so that the measured start does not.
    const first = begin();
    await until(
      'the control plane serves',
      120_000,
      () => existsSync(log) && readFileSync(log, 'utf8').includes('"ready"'),
    );
    first.kill('SIGKILL');
    nodes = new Nodes([`127.0.0.1:${port}`, join(state, 'root-cert.pem'), join(dir, 'tokens')]);
    onProgress('cold start');
    const startedMs = Date.now();
    const control = begin();
    const pid = control.pid ?? 0;
    await nodes.ask('connect');
    const coldStartMs = await nodes.allSynced(options.nodes, startedMs);
    const peak = status(pid, 'VmHWM');
    await sleep(5_000);
    const settled = status(pid, 'VmRSS');

    onProgress(`${options.rate} changes a second for ${options.seconds} s`);
    await nodes.ask('reset');
    const cpuBefore = processCpuSeconds(pid);
    const changesFrom = Date.now();
    const changes: Promise<unknown>[] = [];
    const total = options.rate * options.seconds;
    for (let i = 0; i < total; i++) {
      await sleep(Math.max(0, changesFrom + (i * 1000) / options.rate - Date.now()));
      const which = (i * 7919) % options.pods;
      const path = `/api/v1/namespaces/scale-${(which % options.services) % namespaces}/pods/p${which}`;
      const labels = { version: `t${Date.now()}` };
      changes.push(api.call('PATCH', path, { metadata: { labels } }, 'application/merge-patch+json'));
    }
    await Promise.all(changes);
    const changesPerSecond = (total * 1000) / (Date.now() - changesFrom);
    const cpu = (processCpuSeconds(pid) - cpuBefore) / ((Date.now() - changesFrom) / 1000);
    await sleep(2_000);
    const { delaysMs = [] } = await nodes.ask('report');
    const sorted = delaysMs.sort((a, b) => a - b);

    onProgress('all nodes come back at once');
    await nodes.ask('disconnect');
    await sleep(3_000);
    // proc(5): 5 resets the peak resident size.
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
    const backMs = Date.now();
    await nodes.ask('connect');
    const reconnectMs = await nodes.allSynced(options.nodes, backMs);
    const reconnectPeak = status(pid, 'VmHWM');
    return {
      pods: options.pods,
      services: options.services,
      nodes: options.nodes,
      rate: options.rate,
      seconds: options.seconds,
      changeMs: { p50: at(sorted, 0.5), p99: at(sorted, 0.99), max: at(sorted, 1) },
      delivered: sorted.length / (total * options.nodes),
      changesPerSecond,
      coldStartMs,
      reconnectMs,
      residentBytes: { settled, peak, reconnectPeak },
      cpu,
    };
  } finally {
    nodes?.end();
    for (const child of started) child.kill('SIGKILL');
    api.close();
    if (own) execFileSync(join(projectRoot, 'test/cluster/down'), { stdio: 'ignore' });
    rmSync(dir, { recursive: true, force: true });
  }
}

const mb = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;
export function printControl(report: ControlReport): string {
  const { changeMs, residentBytes: memory } = report;
  const rows: [string, string][] = [
    ['pods, services, nodes', `${report.pods}, ${report.services}, ${report.nodes}`],
    ['change to node, p50', `${changeMs.p50} ms`],
    ['change to node, p99', `${changeMs.p99} ms`],
    ['change to node, max', `${changeMs.max} ms`],
    ['changes a second', report.changesPerSecond.toFixed(1)],
    ['delivered', `${(report.delivered * 100).toFixed(2)} %`],
    ['CPUs while they went on', report.cpu.toFixed(2)],
    ['cold start to the last node', `${(report.coldStartMs / 1000).toFixed(1)} s`],
    ['all nodes back at once', `${(report.reconnectMs / 1000).toFixed(1)} s`],
    ['memory, settled', mb(memory.settled)],
    ['memory, peak of the start', mb(memory.peak)],
    ['memory, peak of coming back', mb(memory.reconnectPeak)],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}
