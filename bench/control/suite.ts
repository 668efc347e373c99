/**
 * The control plane at scale: nodes, services and pods written into a real API server (one that is given by KUBECONFIG, else
 * test/cluster without nodes), discovery streams of as many nodes, changes at a fixed rate.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { projectRoot } from '../../native/index.js';
import { loadKubeConfig } from '../../src/kubernetes/config.js';
import { sleep, until } from '../../src/base/wait.js';
import { processCpuSeconds } from '../harness/cost.js';
import { connect, each, type Call } from './api.js';
import { istioKinds, stampVirtualService, waypointName, writeIstioObjects, writeWaypoints } from './istio.js';
import type { Identity } from './nodes.js';
import { measureChanges, Nodes, type ChangeRound } from './readers.js';

export interface ControlOptions {
  readonly pods: number;
  readonly services: number;
  readonly nodes: number;
  /** Changes per second, and for how long. */
  readonly rate: number;
  readonly seconds: number;
  /** Rounds of changes; 1 if absent. */
  readonly rounds?: number;
  /** Of as many Services, and DestinationRules of so many of them; none if absent. With them each namespace has a waypoint. */
  readonly virtualServices?: number;
  readonly destinationRules?: number;
  readonly onProgress: (text: string) => void;
}

export interface ControlReport extends Omit<ControlOptions, 'onProgress'>, ChangeRound {
  /** Time from the start of the control plane's process until the last node has everything. */
  readonly coldStartMs: number;
  /** Time from the reconnection of all nodes at once until the last one has everything again. */
  readonly reconnectMs: number;
  readonly residentBytes: { readonly settled: number; readonly peak: number; readonly reconnectPeak: number };
  /** Rounds of changes of pods, each followed to every node. The first is in the fields above. */
  readonly podRounds: readonly ChangeRound[];
  /** Rounds of changes of VirtualServices, each followed to every waypoint. */
  readonly virtualServiceRounds: readonly ChangeRound[];
}

const port = 15912;
const namespaces = 20;
const atOnce = 24;
const settleMsMax = 120_000;

const status = (pid: number, field: string): number =>
  Number(
    new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0,
  ) * 1024;
const nameOf = (service: number): { readonly namespace: string; readonly name: string } => ({
  namespace: `scale-${service % namespaces}`,
  name: `s${service}`,
});
const unlessThere =
  (call: Call): Call =>
  (...args) =>
    call(...args).catch((error: unknown) => {
      if (!String(error).includes(' 409 ')) throw error;
      return undefined;
    });

/** Whether the last object of a former run with the same options is there. */
async function isFilled(call: Call, { pods, services }: ControlOptions): Promise<boolean> {
  const { namespace } = nameOf((pods - 1) % services);
  const found = await call('GET', `/api/v1/namespaces/${namespace}/pods/p${pods - 1}`).catch(() => undefined);
  return (found as { status?: { phase?: string } } | undefined)?.status?.phase === 'Running';
}

async function fill(call: Call, options: ControlOptions): Promise<void> {
  const { onProgress, virtualServices = 0, destinationRules = 0 } = options;
  const hasWaypoints = virtualServices > 0;
  const scaled = Array.from({ length: namespaces }, (_, i) => `scale-${i}`);
  const tryCall = unlessThere(call);
  for (const name of ['weft-system', ...scaled]) {
    const waypoint = hasWaypoints ? { 'weft.dev/waypoint': waypointName } : {};
    const labels = name === 'weft-system' ? {} : { 'weft.dev/mesh': 'enabled', ...waypoint };
    // Fake nodes report no pods: without it the first enrollment of the mesh would be measured.
    const annotations = { 'weft.dev/first-enrollment': 'closed' };
    await tryCall('POST', '/api/v1/namespaces', { metadata: { name, labels, annotations } });
  }
  for (const [namespace, name] of [
    ['weft-system', 'weft-agent'],
    ...scaled.map((name) => [name, 'default']),
    ...(hasWaypoints ? scaled.map((name) => [name, waypointName]) : []),
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
      spec: { selector: { app: `s${i}` }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
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
  if (hasWaypoints) {
    await writeWaypoints(tryCall, scaled);
    for (const [i, namespace] of scaled.entries()) {
      const labels = { 'gateway.networking.k8s.io/gateway-name': waypointName };
      const path = `/api/v1/namespaces/${namespace}/pods`;
      await tryCall('POST', path, pod(waypointName, i % options.nodes, labels, waypointName));
    }
    onProgress(`writing ${virtualServices} VirtualServices, ${destinationRules} DestinationRules`);
    await writeIstioObjects(tryCall, { virtualServices, destinationRules }, atOnce, nameOf);
  }
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

/** Tokens as a kubelet projects them: bound to the agent's pod of each node, and to the pod of each waypoint. */
async function tokensOf(
  call: Call,
  { nodes, virtualServices = 0 }: Pick<ControlOptions, 'nodes' | 'virtualServices'>,
): Promise<Identity[]> {
  const identities: Identity[] = [];
  const add = async (
    named: Omit<Identity, 'token'>,
    namespace: string,
    account: string,
    pod: string,
  ): Promise<void> => {
    const path = `/api/v1/namespaces/${namespace}`;
    const { metadata } = (await call('GET', `${path}/pods/${pod}`)) as { metadata: { uid: string } };
    const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name: pod, uid: metadata.uid };
    const made = (await call('POST', `${path}/serviceaccounts/${account}/token`, {
      spec: { audiences: ['istio-ca'], expirationSeconds: 7200, boundObjectRef },
    })) as { status: { token: string } };
    identities.push({ ...named, token: made.status.token });
  };
  await each(nodes, atOnce, (i) =>
    add({ name: `n${i}`, kind: 'node' }, 'weft-system', 'weft-agent', `agent-${i}`),
  );
  await each(virtualServices > 0 ? namespaces : 0, atOnce, (i) =>
    add({ name: `waypoint:scale-${i}`, kind: 'waypoint' }, `scale-${i}`, waypointName, waypointName),
  );
  return identities;
}

/**
 * Waits until the control plane has written what it writes after a start, the statuses of all objects, or until the time is over: then it still
 * writes them while changes are measured.
 */
async function untilQuiet(pid: number): Promise<void> {
  const sampleS = 3;
  for (const end = Date.now() + settleMsMax; Date.now() < end;) {
    const before = processCpuSeconds(pid);
    await sleep(sampleS * 1000);
    if (processCpuSeconds(pid) - before < 0.03 * sampleS) return;
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
    const { virtualServices = 0, destinationRules = 0, rounds = 1 } = options;
    if (virtualServices > options.services || destinationRules > virtualServices)
      throw new Error(
        'at most one VirtualService for each Service, and one DestinationRule for each of those',
      );
    for (const crd of virtualServices > 0 ? await istioKinds() : [])
      await unlessThere(api.call)('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', crd);
    if (virtualServices > 0) await sleep(5_000);
    if (await isFilled(api.call, options)) onProgress('the cluster has the objects of a former run');
    else await fill(api.call, options);
    const tokens = await tokensOf(api.call, options);
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
    const coldStartMs = await nodes.allSynced(tokens.length, startedMs);
    const peak = status(pid, 'VmHWM');
    await (virtualServices > 0 ? untilQuiet(pid) : sleep(5_000));
    const settled = status(pid, 'VmRSS');

    const scene = { nodes, pid, rate: options.rate, seconds: options.seconds };
    const podRounds: ChangeRound[] = [];
    const virtualServiceRounds: ChangeRound[] = [];
    for (let round = 1; round <= rounds; round++) {
      onProgress(`round ${round} of ${rounds}: ${options.rate} changes a second for ${options.seconds} s`);
      podRounds.push(
        await measureChanges({
          ...scene,
          readers: tokens.length,
          delaysOf: ({ delaysMs }) => delaysMs,
          write: (i) => {
            const which = (i * 7919) % options.pods;
            const { namespace } = nameOf(which % options.services);
            const labels = { version: `t${Date.now()}` };
            const path = `/api/v1/namespaces/${namespace}/pods/p${which}`;
            return api.call('PATCH', path, { metadata: { labels } }, 'application/merge-patch+json');
          },
        }),
      );
      if (virtualServices === 0) continue;
      onProgress(`round ${round} of ${rounds}: ${options.rate} changes of VirtualServices a second`);
      virtualServiceRounds.push(
        await measureChanges({
          ...scene,
          readers: tokens.length - options.nodes,
          delaysOf: ({ routeDelaysMs }) => routeDelaysMs,
          write: (i) => stampVirtualService(api.call, (i * 7919) % virtualServices, nameOf),
        }),
      );
    }
    const [firstRound] = podRounds;
    if (!firstRound) throw new Error('no rounds');

    onProgress('all nodes come back at once');
    await nodes.ask('disconnect');
    await sleep(3_000);
    // proc(5): 5 resets the peak resident size.
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
    const backMs = Date.now();
    await nodes.ask('connect');
    const reconnectMs = await nodes.allSynced(tokens.length, backMs);
    const reconnectPeak = status(pid, 'VmHWM');
    return {
      pods: options.pods,
      services: options.services,
      nodes: options.nodes,
      rate: options.rate,
      seconds: options.seconds,
      ...(virtualServices > 0 ? { virtualServices, destinationRules } : {}),
      ...firstRound,
      podRounds,
      virtualServiceRounds,
      coldStartMs,
      reconnectMs,
      residentBytes: { settled, peak, reconnectPeak },
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
/** The figure of each round. */
const over = (rounds: readonly ChangeRound[], of: (round: ChangeRound) => string): string =>
  rounds.map(of).join(', ');
const changeRows = (what: string, to: string, rounds: readonly ChangeRound[]): [string, string][] =>
  rounds.length === 0
    ? []
    : [
        [`change of a ${what} to ${to}, p50`, `${over(rounds, ({ changeMs }) => String(changeMs.p50))} ms`],
        [`change of a ${what} to ${to}, p99`, `${over(rounds, ({ changeMs }) => String(changeMs.p99))} ms`],
        [`change of a ${what} to ${to}, max`, `${over(rounds, ({ changeMs }) => String(changeMs.max))} ms`],
        ['changes a second', over(rounds, (one) => one.changesPerSecond.toFixed(1))],
        ['delivered', `${over(rounds, ({ delivered }) => (delivered * 100).toFixed(2))} %`],
        ['CPUs while they went on', over(rounds, ({ cpu }) => cpu.toFixed(2))],
      ];

export function printControl(report: ControlReport): string {
  const { residentBytes: memory, virtualServices = 0, destinationRules = 0 } = report;
  const rows: [string, string][] = [
    ['pods, services, nodes', `${report.pods}, ${report.services}, ${report.nodes}`],
    ...(virtualServices > 0
      ? [['VirtualServices, DestinationRules', `${virtualServices}, ${destinationRules}`] as [string, string]]
      : []),
    ...changeRows('pod', 'node', report.podRounds),
    ...changeRows('VirtualService', 'waypoint', report.virtualServiceRounds),
    ['cold start to the last node', `${(report.coldStartMs / 1000).toFixed(1)} s`],
    ['all nodes back at once', `${(report.reconnectMs / 1000).toFixed(1)} s`],
    ['memory, settled', mb(memory.settled)],
    ['memory, peak of the start', mb(memory.peak)],
    ['memory, peak of coming back', mb(memory.reconnectPeak)],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}
