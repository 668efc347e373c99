/** The workloads between two pods: each with its load program and the metrics that are read from its output. */
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { loadArgs, readOpen, readSummary, wholeRate, type Protocol } from '../load/fortio.js';
import { cpuOf, loadProgram, numberAt, runJson } from '../harness/load.js';
import type { CpuSpent } from '../harness/roles.js';
import type { Measured, Step } from '../harness/rounds.js';
import type { Placement, Workload } from '../result/result.js';
import { bytesOf as residentBytesOf, processMemory } from './costs/memory.js';
import type { Scene } from './scene.js';
import { ports, type MeshCell } from './variants.js';

export const connections = 16;
const echoConnectionsAtOnce = 8;
const mixedStreams = 15;
const mixedBytes = 128;
const writeBytes = 128 << 10;
const slackMs = 30_000;
/** Seconds of warm-up before the measurement, for connections, code and caches. */
const warmSeconds = 0.3;

const protocols: Readonly<Record<Protocol, string>> = { http1: 'HTTP/1.1', http2: 'HTTP/2', grpc: 'gRPC' };
export const allProtocols = Object.keys(protocols) as Protocol[];

export const pingPong: Workload = {
  name: 'ping-pong',
  title: 'TCP ping-pong',
  kind: 'scale',
  pointTitle: 'message',
  about:
    'one message to and fro on one connection, again and again (bench/load/pingpong.c); exact percentiles',
};
export const bulk: Workload = {
  name: 'bulk',
  title: 'TCP bulk',
  kind: 'scale',
  pointTitle: 'streams',
  about: `as many bytes as pass, ${writeBytes >> 10} KiB a write (iperf3)`,
};
export const churn: Workload = {
  name: 'churn',
  title: 'new connections',
  kind: 'scale',
  pointTitle: '',
  about: `connections with one message each, ${echoConnectionsAtOnce} in flight (bench/load/connections.c)`,
};
export const mixed: Workload = {
  name: 'mixed',
  title: 'ping-pong beside bulk',
  kind: 'scale',
  pointTitle: '',
  about: `messages of ${mixedBytes} bytes on one connection while ${mixedStreams} streams of iperf3 send what they can`,
};
export const memory: Workload = {
  name: 'memory',
  title: 'memory under load',
  kind: 'cost',
  pointTitle: '',
  about:
    "resident memory at the end of each round: all proxies of a variant, the larger of Weft's agents, and the larger of its carriers with its broker",
};
export const capacity = (protocol: Protocol): Workload => ({
  name: `${protocol}-max`,
  title: `${protocols[protocol]}, full speed`,
  kind: 'scale',
  pointTitle: '',
  about: `as fast as answers come on ${connections} connections, bodies of 1 KiB (fortio)`,
});
export const atRate = (protocol: Protocol): Workload => ({
  name: protocol,
  title: protocols[protocol],
  kind: 'load',
  pointTitle: 'load',
  about: `requests at a fixed rate, sent whether or not earlier ones are answered, bodies of 1 KiB, ${connections} connections (fortio); one whose connection still waited for the one before is timed from when it was due. A point is a share of the slowest variant's full speed`,
});

export interface Workbench {
  readonly scene: Scene;
  readonly fortio: string;
  readonly seconds: number;
  /** Path and query of requests. */
  readonly path: string;
  /** The application runs outside of the pods, so its CPU cannot be separated from the kernel's. */
  readonly elsewhere?: boolean;
}

const per = (
  { elsewhere }: Workbench,
  spent: CpuSpent,
  count: number,
  unit: 'Us' | 'SecondsPerGb',
): Record<string, number> => {
  const scale = unit === 'Us' ? 1e6 / count : 1e9 / count;
  const { agents, carriers = 0 } = spent.byProxy;
  const proxy = {
    [`proxy${unit}`]: spent.proxy * scale,
    // Beside a carrier that did nothing, the agent's share is the whole.
    ...(unit === 'Us' && agents !== undefined && carriers > 0 ? { agentUs: agents * scale } : {}),
  };
  if (elsewhere) return proxy;
  return {
    ...proxy,
    [`application${unit}`]: spent.application * scale,
    [`kernel${unit}`]: spent.kernel * scale,
  };
};

type Spend = <T>(cell: MeshCell, work: () => Promise<T>) => Promise<[T, CpuSpent]>;

const spender =
  ({ scene }: Workbench): Spend =>
  (cell, work) =>
    scene.roles.spentBy(cell.proxies, ['client', 'server'], work);

/** Runs a load program in the client pod, in its role and on its CPU. */
function load(bench: Workbench, cell: MeshCell, command: string, args: readonly string[]): Promise<unknown> {
  const pinned =
    cpuOf.client < 0 ? [command, ...args] : ['taskset', '-c', String(cpuOf.client), command, ...args];
  const [shell, shellArgs] = bench.scene.roles.command('client', pinned[0] ?? '', pinned.slice(1));
  return runJson(cell.client, shell, shellArgs, bench.seconds * 1000 + slackMs);
}

const pingArgs = ({ ip }: MeshCell, bytes: number, seconds: number): string[] => [
  ip,
  String(ports.echo),
  '-1',
  String(bytes),
  String(Math.round(seconds * 1000)),
];
/** iperf3 accepts only whole seconds. */
const bulkArgs = ({ ip }: MeshCell, streams: number, seconds: number): string[] => [
  ...['-c', ip, '-p', String(ports.bulk), '-t', String(Math.max(1, Math.round(seconds)))],
  ...['-P', String(streams), '-l', String(writeBytes), '-J', '--connect-timeout', '5000'],
];
function bulkOf(printed: unknown): { readonly bytes: number; readonly gbit: number } {
  const why = (printed as { error?: unknown }).error;
  if (typeof why === 'string') throw new WeftError('WEFT_COMMAND', `iperf3: ${why}`);
  return {
    bytes: numberAt(printed, 'end', 'sum_received', 'bytes'),
    gbit: numberAt(printed, 'end', 'sum_received', 'bits_per_second') / 1e9,
  };
}

export async function measurePingPong(bench: Workbench, cell: MeshCell, bytes: number): Promise<Measured> {
  const [result, spent] = await spender(bench)(cell, () =>
    load(bench, cell, loadProgram('pingpong'), pingArgs(cell, bytes, bench.seconds)),
  );
  return {
    values: {
      p50: numberAt(result, 'p50_us'),
      p99: numberAt(result, 'p99_us'),
      p999: numberAt(result, 'p999_us'),
      ...per(bench, spent, numberAt(result, 'all_trips'), 'Us'),
    },
  };
}

export async function measureBulk(bench: Workbench, cell: MeshCell, streams: number): Promise<Measured> {
  const [result, spent] = await spender(bench)(cell, () =>
    load(bench, cell, 'iperf3', bulkArgs(cell, streams, bench.seconds)),
  );
  const { bytes, gbit } = bulkOf(result);
  return { values: { gbit, ...per(bench, spent, bytes, 'SecondsPerGb') } };
}

export async function measureChurn(bench: Workbench, cell: MeshCell): Promise<Measured> {
  const args = [...pingArgs(cell, mixedBytes, bench.seconds), String(echoConnectionsAtOnce)];
  const [result, spent] = await spender(bench)(cell, () =>
    load(bench, cell, loadProgram('connections'), args),
  );
  const failed = numberAt(result, 'failed');
  if (failed > 0) throw new WeftError('WEFT_COMMAND', `${failed} connections failed`);
  return {
    values: {
      perSecond: numberAt(result, 'per_second'),
      ...per(bench, spent, numberAt(result, 'opened'), 'Us'),
    },
  };
}

export async function measureMixed(bench: Workbench, cell: MeshCell): Promise<Measured> {
  const seconds = Math.max(1, bench.seconds);
  const [trips, streams] = await Promise.all([
    load(bench, cell, loadProgram('pingpong'), pingArgs(cell, mixedBytes, seconds)),
    load(bench, cell, 'iperf3', bulkArgs(cell, mixedStreams, seconds)),
  ]);
  return {
    values: {
      p50: numberAt(trips, 'p50_us'),
      p99: numberAt(trips, 'p99_us'),
      perSecond: numberAt(trips, 'trips') / seconds,
      gbit: bulkOf(streams).gbit,
    },
  };
}

export async function measureCapacity(
  bench: Workbench,
  cell: MeshCell,
  protocol: Protocol,
): Promise<Measured> {
  const { seconds, fortio, path } = bench;
  const [result, spent] = await spender(bench)(cell, () =>
    load(bench, cell, fortio, loadArgs({ protocol, host: cell.ip, connections, seconds, path })),
  );
  const { requests, perSecond } = readSummary(result);
  return { values: { perSecond, ...per(bench, spent, requests, 'Us') } };
}

export async function measureAtRate(
  bench: Workbench,
  cell: MeshCell,
  protocol: Protocol,
  perSecond: number,
): Promise<Measured> {
  const { fortio, path } = bench;
  const seconds = bench.seconds + warmSeconds;
  const log = join(tmpdir(), `weft-bench-${process.pid}-${randomBytes(4).toString('hex')}.log`);
  try {
    const [printed, spent] = await spender(bench)(cell, () =>
      load(
        bench,
        cell,
        fortio,
        loadArgs({
          protocol,
          host: cell.ip,
          connections,
          perSecond,
          seconds,
          log,
          path,
        }),
      ),
    );
    const { requests } = readSummary(printed);
    const result = readOpen(readFileSync(log, 'utf8'), { perSecond, connections, seconds }, warmSeconds);
    if ('short' in result) return { values: { perSecond: result.perSecond }, short: result.short };
    return {
      values: { ...result.latenciesUs, perSecond: result.perSecond, ...per(bench, spent, requests, 'Us') },
    };
  } finally {
    rmSync(log, { force: true });
  }
}

export function measureMemory({ scene }: Workbench, { proxies, nodes }: MeshCell): Measured {
  /** Processes of one node, which share the pages of their program. */
  const resident = (pids: readonly number[]): number =>
    residentBytesOf(pids.map((pid) => processMemory('', pid))) / 1e6;
  const carriers = proxies.includes('carriers') ? nodes.map((node) => scene.carrierPids(node)) : [];
  return {
    values: {
      proxyMegabytes: proxies.reduce((sum, role) => sum + scene.residentBytes(role), 0) / 1e6,
      ...(proxies.some((role) => role.startsWith('agents'))
        ? { agentMegabytes: Math.max(...nodes.map((node) => resident([scene.agentPid(node)]))) }
        : {}),
      ...(carriers.some((pids) => pids.length > 0)
        ? { carrierMegabytes: Math.max(...carriers.map(resident)) }
        : {}),
    },
  };
}

const bytesOf = (point: string): number => {
  const [count = '', unit] = point.split(' ');
  return Number(count) * (unit === 'KiB' ? 1024 : 1);
};

/** The points of a run. */
export interface Points {
  readonly sizes: readonly string[];
  readonly streams: readonly number[];
  /** Percent of the slowest variant's full speed. */
  readonly shares: readonly number[];
  /** Without `mixed`, and full speed by HTTP/1.1 only. */
  readonly isShort: boolean;
}
export const quickPoints: Points = { sizes: ['128 B'], streams: [1], shares: [50], isShort: true };
/** Those that have goals (bench/result/relay-goals.ts). */
export const goalPoints: Points = {
  sizes: ['64 B', '128 B', '64 KiB'],
  streams: [1, 16],
  shares: [50],
  isShort: false,
};
export const allPoints: Points = {
  sizes: ['64 B', '128 B', '1 KiB', '16 KiB', '64 KiB'],
  streams: [1, 4, 16],
  shares: [10, 30, 50, 70, 90],
  isShort: false,
};

export interface StepsGiven {
  readonly bench: Workbench;
  readonly cells: readonly MeshCell[];
  readonly points: Points;
  /** Protocol -> requests per second of the slowest variant of a placement. */
  readonly slowest: (protocol: Protocol, placement: Placement) => number;
  /** Protocols of the applications. */
  readonly protocols: readonly Protocol[];
  /** True if applications also accept bytes, not only requests. */
  readonly bytes: boolean;
}

/** The workloads, in the order of measurement. */
export function stepsOf({ bench, cells, points, slowest, protocols, bytes }: StepsGiven): Step<MeshCell>[] {
  const { sizes, streams, shares, isShort } = points;
  const ofBytes: Step<MeshCell>[] = [
    ...sizes.map((point) => ({
      workload: pingPong,
      point,
      cells,
      measure: (cell: MeshCell) => measurePingPong(bench, cell, bytesOf(point)),
    })),
    ...streams.map((count) => ({
      workload: bulk,
      point: `${count} ${count === 1 ? 'stream' : 'streams'}`,
      cells,
      measure: (cell: MeshCell) => measureBulk(bench, cell, count),
    })),
    { workload: churn, point: '', cells, measure: (cell) => measureChurn(bench, cell) },
    ...(isShort
      ? []
      : [{ workload: mixed, point: '', cells, measure: (cell: MeshCell) => measureMixed(bench, cell) }]),
  ];
  return [
    ...(bytes ? ofBytes : []),
    ...protocols.flatMap((protocol): Step<MeshCell>[] => [
      ...(isShort && protocol !== 'http1'
        ? []
        : [
            {
              workload: capacity(protocol),
              point: '',
              cells,
              measure: (cell: MeshCell) => measureCapacity(bench, cell, protocol),
            },
          ]),
      ...shares.map((share): Step<MeshCell> => {
        const rate = ({ placement }: MeshCell): number =>
          wholeRate((slowest(protocol, placement) * share) / 100, connections, bench.seconds + warmSeconds);
        return {
          workload: atRate(protocol),
          point: `${share} %`,
          cells,
          perSecond: rate,
          measure: (cell) => measureAtRate(bench, cell, protocol, rate(cell)),
        };
      }),
    ]),
    {
      workload: memory,
      point: '',
      cells: cells.filter(({ proxies }) => proxies.length > 0),
      measure: (cell) => Promise.resolve(measureMemory(bench, cell)),
    },
  ];
}
