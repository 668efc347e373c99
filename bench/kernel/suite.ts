/** Costs of kernel flows besides data transfer: first connections, cuts, connect() itself, and memory. */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Datapath } from '../../daemonset/datapath/loader.js';
import {
  EndpointKey,
  EndpointRow,
  ServiceKey,
  ServiceRow,
  VerdictKey,
  VerdictRow,
  actions,
} from '../../daemonset/maps/rows.generated.js';
import { BpfMap } from '../../native/index.js';
import { WeftError } from '../../src/base/errors.js';
import { sleep, until } from '../../src/base/wait.js';
import { run, sh } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { parseIp } from '../../src/model/address.js';
import { cpuOf, loadProgram, numberAt, runJson, Servers } from '../harness/load.js';
import { figure, machine, table, type Report } from '../harness/report.js';
import { median } from '../harness/statistics.js';

export interface KernelOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly state: string;
  readonly onProgress: (text: string) => void;
  readonly interrupted: () => boolean;
}

const port = 7000;
const near = '10.245.1.11';
const directNear = '10.245.1.21';
const firstsPerRound = 200;
const held = 1_000;
const fill = { verdicts: 100_000, services: 5_000, endpointsEach: 10 };
const datapath = new Datapath('bench-a');
const manifests = join(dirname(dirname(fileURLToPath(import.meta.url))), 'manifests', 'l4');
const closed = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: closed, namespace: bench }
spec: { action: DENY, rules: [{ to: [{ ports: [${port}] }] }] }
`;

/** Metrics with unit and goal. */
const metrics = {
  'first connection direct p50': ['us', ''],
  'first connection p50': ['us', ''],
  'first connection p99': ['us', '< 2000'],
  'later connection p50': ['us', ''],
  'cut of 1000 after the policy file changed': ['ms', '< 200'],
  'connect() of a pod not enrolled': ['ns', '< 200'],
  'connect() carried, small tables': ['ns', ''],
  'connect() carried, 100000 verdicts, 5000 services, 50000 endpoints': ['ns', 'within 10 %'],
  'maps of a node': ['MB', ''],
} as const;
type Metric = keyof typeof metrics;

interface RunStats {
  readonly run_time_ns?: number;
  readonly run_cnt?: number;
}

/** Mean time of one run of the node's connect4 while `action` runs. */
async function connectNs(action: () => Promise<unknown>): Promise<number> {
  const link = JSON.parse(
    sh('bpftool', ['-j', 'link', 'show', 'pinned', '/sys/fs/bpf/weft/bench-a/links/weft_connect4']),
  ) as {
    prog_id: number;
  };
  const stats = (): RunStats =>
    JSON.parse(sh('bpftool', ['-j', 'prog', 'show', 'id', String(link.prog_id)])) as RunStats;
  sh('sysctl', ['-qw', 'kernel.bpf_stats_enabled=1']);
  try {
    const before = stats();
    await action();
    const after = stats();
    return (
      ((after.run_time_ns ?? 0) - (before.run_time_ns ?? 0)) /
      Math.max(1, (after.run_cnt ?? 0) - (before.run_cnt ?? 0))
    );
  } finally {
    sh('sysctl', ['-qw', 'kernel.bpf_stats_enabled=0']);
  }
}

const percentile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.max(0, Math.ceil(values.length * share) - 1)] ?? NaN;

/** Creates the testbed, measures, removes the testbed. */
export async function runKernel(options: KernelOptions): Promise<Report> {
  await tearDown(options.state);
  const servers = new Servers();
  const from = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const samples: { round: number; path: string; variant: string; values: Record<string, number> }[] = [];
  try {
    cpSync(manifests, from, { recursive: true });
    const testbed = Testbed.create({ from, state: options.state });
    options.onProgress('starting two nodes');
    await testbed.up();
    for (const netns of ['weft-bench-near', 'weft-bench-direct-near'])
      await servers.start(netns, port, loadProgram('echo'), [String(port), String(cpuOf.server)]);
    for (const netns of ['weft-bench-client', 'weft-bench-direct-client']) {
      sh('nsenter', [
        `--net=/run/netns/${netns}`,
        'sysctl',
        '-qw',
        'net.ipv4.tcp_tw_reuse=1',
        'net.ipv4.ip_local_port_range=20000 65535',
      ]);
    }
    for (let round = 1; round <= options.rounds; round++) {
      if (options.interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted, nothing is written');
      options.onProgress(`round ${round} of ${options.rounds}`);
      const values = {
        ...(await firsts()),
        ...(await cuts(from)),
        ...(await connects(options.seconds)),
      };
      samples.push({ round, path: 'same-node', variant: 'mesh', values });
    }
    return {
      suite: 'kernel',
      settings: { rounds: options.rounds, seconds: options.seconds, held, ...fill },
      machine: machine(),
      ratios: {},
      spread: {},
      noise: {},
      medians: Object.fromEntries(
        Object.keys(metrics).map((name) => [name, median(samples.map(({ values }) => values[name] ?? NaN))]),
      ),
      rounds: samples,
    };
  } finally {
    await servers.stop();
    await tearDown(options.state);
    rmSync(from, { recursive: true, force: true });
  }
}

async function once(netns: string, ip: string): Promise<number> {
  return numberAt(
    await runJson(netns, loadProgram('first'), [ip, String(port), String(cpuOf.client)], 10_000),
    'us',
  );
}

async function firsts(): Promise<Partial<Record<Metric, number>>> {
  const verdicts = new BpfMap(join(datapath.dir, 'weft_verdicts'));
  const [direct, first, later]: number[][] = [[], [], []];
  try {
    for (let i = 0; i < firstsPerRound; i++) {
      direct?.push(await once('weft-bench-direct-client', directNear));
      for (const key of verdicts.keys()) verdicts.remove(key);
      first?.push(await once('weft-bench-client', near));
      await until('the verdict', 5_000, () => verdicts.keys().length > 0);
      later?.push(await once('weft-bench-client', near));
    }
  } finally {
    verdicts.close();
  }
  return {
    'first connection direct p50': median(direct ?? []),
    'first connection p50': median(first ?? []),
    'first connection p99': percentile(first ?? [], 0.99),
    'later connection p50': median(later ?? []),
  };
}

async function cuts(from: string): Promise<Partial<Record<Metric, number>>> {
  const child = spawn(
    'nsenter',
    ['--net=/run/netns/weft-bench-client', '--', loadProgram('hold'), near, String(port), String(held)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
  const line = (at: number): Promise<Record<string, number>> =>
    until('the held connections', 30_000, () => {
      const found = text.split('\n').filter(Boolean)[at];
      return found === undefined ? undefined : (JSON.parse(found) as Record<string, number>);
    });
  try {
    await line(0);
    const began = Number(process.hrtime.bigint());
    writeFileSync(join(from, 'closed.yaml'), closed);
    const { last_ns: last = NaN } = await line(1);
    return { 'cut of 1000 after the policy file changed': (last - began) / 1e6 };
  } finally {
    child.kill();
    rmSync(join(from, 'closed.yaml'), { force: true });
    await until('connections are allowed again', 10_000, async () => {
      const { code } = await run('weft-bench-client', loadProgram('first'), [near, String(port), '-1']);
      return code === 0;
    });
    await sleep(300);
  }
}

async function connects(seconds: number): Promise<Partial<Record<Metric, number>>> {
  const churn = (netns: string, ip: string) => (): Promise<unknown> =>
    runJson(
      netns,
      loadProgram('connections'),
      [ip, String(port), String(cpuOf.client), '1', String(Math.round(seconds * 1000)), '8'],
      seconds * 1000 + 30_000,
    );
  const outside = await connectNs(churn('weft-bench-direct-client', directNear));
  const small = await connectNs(churn('weft-bench-client', near));
  const full = await filled(() => connectNs(churn('weft-bench-client', near)));
  const maps = JSON.parse(sh('bpftool', ['-j', 'map', 'show'])) as {
    name?: string;
    bytes_memlock?: number;
    pinned?: string[];
  }[];
  const bytes = maps
    .filter(({ name }) => name?.startsWith('weft_'))
    .reduce((sum, { bytes_memlock = 0 }) => sum + bytes_memlock, 0);
  return {
    'connect() of a pod not enrolled': outside,
    'connect() carried, small tables': small,
    'connect() carried, 100000 verdicts, 5000 services, 50000 endpoints': full,
    // The sum is that of both nodes of the testbed.
    'maps of a node': bytes / 2 / 1e6,
  };
}

/** Runs `action` while the tables are as full as on a large node. */
async function filled<T>(action: () => Promise<T>): Promise<T> {
  const [verdicts, services, endpoints] = ['weft_verdicts', 'weft_services', 'weft_endpoints'].map(
    (name) => new BpfMap(join(datapath.dir, name)),
  ) as [BpfMap, BpfMap, BpfMap];
  const ids = Array.from({ length: fill.services }, (_, i) => 1_000_000 + i);
  const ipOf = (i: number): ReturnType<typeof parseIp> => parseIp(`10.97.${i >> 8}.${i & 255}`);
  const verdictKeys = Array.from({ length: fill.verdicts }, (_, i) =>
    VerdictKey.encode({
      source: 1_000_000n + BigInt(i % 330),
      destination: 2_000_000n + BigInt(Math.floor(i / 330)),
      port: 8080,
    }),
  );
  const endpointKeys = ids.flatMap((id) =>
    Array.from({ length: fill.endpointsEach }, (_, index) => EndpointKey.encode({ id, index })),
  );
  const serviceKeys = ids.map((_, i) => ServiceKey.encode({ ip: ipOf(i), port: 80 }));
  try {
    const verdict = VerdictRow.encode({ epoch: 1n, action: actions.allow });
    verdicts.updateBatch(verdictKeys.map((key) => [key, verdict]));
    const endpoint = EndpointRow.encode({ ip: parseIp('10.98.0.1'), port: 8080 });
    endpoints.updateBatch(endpointKeys.map((key) => [key, endpoint]));
    services.updateBatch(
      serviceKeys.map(
        (key, i) =>
          [key, ServiceRow.encode({ id: ids[i] ?? 0, count: fill.endpointsEach, flags: 0 })] as const,
      ),
    );
    // Filling the LRU map may have evicted the verdict that is measured.
    await once('weft-bench-client', near);
    await sleep(300);
    return await action();
  } finally {
    for (const key of verdictKeys) verdicts.remove(key);
    for (const key of endpointKeys) endpoints.remove(key);
    for (const key of serviceKeys) services.remove(key);
    for (const map of [verdicts, services, endpoints]) map.close();
  }
}

export function printKernel(report: Report): string {
  const rows = Object.entries(metrics).map(([name, [unit, goal]]) => {
    const all = report.rounds.flatMap(({ values }) => values[name] ?? []);
    return [
      name,
      unit,
      figure(report.medians[name]),
      `${figure(Math.min(...all))}..${figure(Math.max(...all))}`,
      goal,
    ];
  });
  return [
    `${report.settings['rounds']} rounds; medians over rounds`,
    '',
    table(['', 'unit', 'median', 'over rounds', 'goal'], rows),
  ].join('\n');
}
