/**
 * The cost of the mesh at L4. The same load programs run between two pods in the mesh and between two pods outside of it, on one node
 * and across two, interleaved in one run.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WeftError } from '../../src/base/errors.js';
import { sleep } from '../../src/base/wait.js';
import { run, sh } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { residentBytes, spentBy } from '../harness/cost.js';
import { interleave, type Task } from '../harness/interleave.js';
import { cpuOf, loadProgram, numberAt, runJson, Servers } from '../harness/load.js';
import { figure, machine, table, type Report } from '../harness/report.js';
import {
  median,
  ratiosByRound,
  spreadOf,
  valuesOf,
  type Sample,
  type Spread,
} from '../harness/statistics.js';

export interface L4Options {
  readonly rounds: number;
  /** How long each single measurement takes. */
  readonly seconds: number;
  /** Connections in flight while new ones are counted. */
  readonly atOnce: number;
  readonly workers?: number;
  /** State directory of the testbed. */
  readonly state: string;
  readonly onProgress: (text: string) => void;
  /** Called between measurements. */
  readonly interrupted: () => boolean;
}

interface Path {
  readonly name: string;
  /** The pod that serves. */
  readonly server: string;
}
interface Variant {
  readonly name: string;
  /** The Kubernetes namespace whose pods are used. */
  readonly namespace: string;
}

const messageBytes = 128;
const echoPort = 7000;
const sinkPort = 7001;
const writeBytes = 128 << 10;
/** Number of bulk streams that run besides one connection of requests. */
const mixedBulkStreams = 15;
const slackMs = 30_000;
const manifests = join(dirname(dirname(fileURLToPath(import.meta.url))), 'manifests', 'l4');

const paths: readonly Path[] = [
  { name: 'same-node', server: 'near' },
  { name: 'cross-node', server: 'far' },
];
const base: Variant = { name: 'direct', namespace: 'direct' };
const mesh: Variant = { name: 'mesh', namespace: 'bench' };
const again: Variant = { name: 'direct-again', namespace: 'direct' };
const variants: readonly Variant[] = [base, mesh, again];

/** Metrics that are compared with direct, and their units. */
export const comparedMetrics = {
  p50: 'us',
  p99: 'us',
  p999: 'us',
  throughput: 'Gbit/s',
  connections: '1/s',
  p50Blocking: 'us',
  requestsMixed: '1/s',
  throughputMixed: 'Gbit/s',
} as const;

/** Metrics without a ratio to direct. */
const costMetrics = {
  agentUsPerTrip: 'agents: CPU us per round trip',
  agentUsPerConnection: 'agents: CPU us per connection',
  agentSecondsPerGb: 'agents: CPU s per GB',
  machineSecondsPerGb: 'whole machine: CPU s per GB',
  agentMegabytes: 'agents: resident MB, both, after bulk',
} as const;

const netnsOf = (variant: Variant, pod: string): string =>
  variant.namespace === 'direct' ? `weft-bench-direct-${pod}` : `weft-bench-${pod}`;

/** Creates the testbed, measures, removes the testbed. Throws if a measurement fails or the run is interrupted. */
export async function runL4(options: L4Options): Promise<Report> {
  await tearDown(options.state);
  const servers = new Servers();
  try {
    const testbed = Testbed.create({
      from: manifests,
      state: options.state,
      ...(options.workers === undefined ? {} : { workers: options.workers }),
    });
    options.onProgress('starting two nodes');
    await testbed.up();
    const addresses = new Map(
      testbed.topology.nodes.flatMap(({ pods }) =>
        pods.map(({ netns, addresses: [ip] }) => [netns, ip ?? '']),
      ),
    );
    for (const netns of addresses.keys()) {
      // So many short connections use up the ports of one minute otherwise.
      sh('nsenter', [
        `--net=/run/netns/${netns}`,
        'sysctl',
        '-qw',
        'net.ipv4.tcp_tw_reuse=1',
        'net.ipv4.ip_local_port_range=20000 65535',
      ]);
    }
    for (const { server } of paths) {
      for (const variant of [base, mesh]) {
        const netns = netnsOf(variant, server);
        await servers.start(netns, echoPort, loadProgram('echo'), [String(echoPort), String(cpuOf.server)]);
        await servers.start(netns, sinkPort, loadProgram('sink'), [String(sinkPort), String(cpuOf.server)]);
      }
    }
    const agents = testbed.topology.nodes.map(({ name }) => {
      const mark = testbed.mark(`agent-${name}`);
      if (!mark) throw new WeftError('WEFT_START', `the agent of ${name} does not run`);
      return mark.pid;
    });
    await proveMeshPath(addresses.get(netnsOf(mesh, 'far')) ?? '');
    // The first connection of a pair asks for its verdict: what is measured is what follows.
    for (const { server } of paths) {
      const ip = addresses.get(netnsOf(mesh, server)) ?? '';
      for (const port of [echoPort, sinkPort])
        await run(netnsOf(mesh, 'client'), 'bash', ['-c', `exec 3<>/dev/tcp/${ip}/${port}`]);
    }
    await sleep(500);
    const samples = await interleave<Path, Variant>({
      rounds: options.rounds,
      paths,
      variants,
      tasks: tasksOf(options, addresses, agents),
      onProgress: (text) => {
        if (options.interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted, nothing is written');
        options.onProgress(text);
      },
    });
    return reportOf(options, samples);
  } finally {
    await servers.stop();
    await tearDown(options.state);
  }
}

/** Refuses to measure a "mesh" that is not one: the agent must count a connection under mutual TLS. */
async function proveMeshPath(far: string): Promise<void> {
  await runJson(
    netnsOf(mesh, 'client'),
    loadProgram('pingpong'),
    [far, String(echoPort), '-1', '1', '50'],
    slackMs,
  );
  const { stdout, stderr } = await run('weft-bench-node-b', 'curl', [
    '-sS',
    '-m',
    '5',
    'http://127.0.0.1:15020/metrics',
  ]);
  const counted = stdout
    .split('\n')
    .some(
      (line) =>
        line.startsWith('istio_tcp_connections_opened_total{') &&
        line.includes('connection_security_policy="mutual_tls"') &&
        !line.endsWith(' 0'),
    );
  if (!counted)
    throw new WeftError(
      'WEFT_BENCH_NOT_CARRIED',
      `the mesh carried nothing: ${stderr.trim() || 'see its metrics'}`,
    );
}

function tasksOf(
  options: L4Options,
  addresses: ReadonlyMap<string, string>,
  agents: readonly number[],
): Task<Path, Variant>[] {
  const { seconds, atOnce } = options;
  const milliseconds = String(Math.round(seconds * 1000));
  const timeoutMs = seconds * 1000 + slackMs;
  const load = (
    program: 'pingpong' | 'connections',
    path: Path,
    variant: Variant,
    ...more: string[]
  ): Promise<unknown> =>
    runJson(
      netnsOf(variant, 'client'),
      loadProgram(program),
      [
        addresses.get(netnsOf(variant, path.server)) ?? '',
        String(echoPort),
        String(cpuOf.client),
        String(messageBytes),
        milliseconds,
        ...more,
      ],
      timeoutMs,
    );
  const bulk = (path: Path, variant: Variant, streams: number): Promise<unknown> =>
    runJson(
      netnsOf(variant, 'client'),
      loadProgram('bulk'),
      [
        addresses.get(netnsOf(variant, path.server)) ?? '',
        String(sinkPort),
        String(cpuOf.client),
        String(writeBytes),
        milliseconds,
        String(streams),
      ],
      timeoutMs,
    );
  /** CPU of the agents counts for the mesh only: during measurements of direct connections it is idle work. */
  const ofMesh = (variant: Variant, values: Record<string, number>): Record<string, number> =>
    variant.namespace === mesh.namespace ? values : {};
  return [
    {
      name: 'round trips',
      measure: async (path, variant) => {
        const [result, spent] = await spentBy(agents, () => load('pingpong', path, variant));
        return {
          p50: numberAt(result, 'p50_us'),
          p99: numberAt(result, 'p99_us'),
          p999: numberAt(result, 'p999_us'),
          ...ofMesh(variant, {
            agentUsPerTrip: (spent.processSeconds * 1e6) / numberAt(result, 'all_trips'),
          }),
        };
      },
    },
    {
      name: 'round trips of a socket that blocks',
      measure: async (path, variant) => ({
        p50Blocking: numberAt(await load('pingpong', path, variant, 'blocking'), 'p50_us'),
      }),
    },
    {
      name: 'requests beside bulk',
      measure: async (path, variant) => {
        const [requests, streams] = await Promise.all([
          load('pingpong', path, variant),
          bulk(path, variant, mixedBulkStreams),
        ]);
        return {
          requestsMixed: numberAt(requests, 'all_trips') / seconds,
          throughputMixed: numberAt(streams, 'gbit_per_second'),
        };
      },
    },
    {
      name: 'connections',
      measure: async (path, variant) => {
        const [result, spent] = await spentBy(agents, () =>
          load('connections', path, variant, String(atOnce)),
        );
        const opened = numberAt(result, 'opened');
        return {
          connections: numberAt(result, 'per_second'),
          failed: numberAt(result, 'failed'),
          ...ofMesh(variant, { agentUsPerConnection: (spent.processSeconds * 1e6) / opened }),
        };
      },
    },
    {
      name: 'throughput',
      measure: async (path, variant) => {
        const [result, spent] = await spentBy(agents, () => bulk(path, variant, 1));
        const gigabytes = numberAt(result, 'bytes') / 1e9;
        return {
          throughput: numberAt(result, 'gbit_per_second'),
          machineSecondsPerGb: spent.machineSeconds / gigabytes,
          ...ofMesh(variant, {
            agentSecondsPerGb: spent.processSeconds / gigabytes,
            agentMegabytes: agents.reduce((sum, pid) => sum + residentBytes(pid), 0) / 1e6,
          }),
        };
      },
    },
  ];
}

/** Samples to report. Pure but for what it says of the machine. */
export function reportOf(
  options: Pick<L4Options, 'rounds' | 'seconds' | 'atOnce'>,
  samples: readonly Sample[],
): Report {
  const ratios: Record<string, number> = {};
  const spread: Record<string, Spread> = {};
  const noise: Record<string, Spread> = {};
  const medians: Record<string, number> = {};
  for (const { name: path } of paths) {
    for (const metric of Object.keys(comparedMetrics)) {
      const found = spreadOf(ratiosByRound(samples, path, metric, mesh.name, base.name));
      const floor = spreadOf(ratiosByRound(samples, path, metric, again.name, base.name));
      if (found) {
        ratios[`${path}.${metric}`] = found.median;
        spread[`${path}.${metric}`] = found;
      }
      if (floor) noise[`${path}.${metric}`] = floor;
    }
    for (const { name: variant } of variants) {
      for (const metric of [...Object.keys(comparedMetrics), ...Object.keys(costMetrics), 'failed']) {
        const values = valuesOf(samples, path, variant, metric);
        if (values.length > 0) medians[`${path}.${variant}.${metric}`] = median(values);
      }
    }
  }
  return {
    suite: 'l4',
    settings: { rounds: options.rounds, seconds: options.seconds, atOnce: options.atOnce, messageBytes },
    machine: machine(),
    ratios,
    spread,
    noise,
    medians,
    rounds: samples,
  };
}

const span = (of: Spread | undefined): string => (of ? `${figure(of.min)}..${figure(of.max)}` : '');

/** The report as tables; `earlier`: ratios of another run, as a further column. */
export function printL4(report: Report, earlier?: Readonly<Record<string, number>>): string {
  const { medians, ratios, spread, noise, settings } = report;
  const head = ['', 'unit', 'direct', 'mesh', 'mesh / direct', 'over rounds', 'direct / direct'];
  if (earlier) head.push('earlier');
  const rows = paths.flatMap(({ name }) =>
    Object.entries(comparedMetrics).map(([metric, unit]) => {
      const key = `${name}.${metric}`;
      return [
        `${name} ${metric}`,
        unit,
        figure(medians[`${name}.direct.${metric}`]),
        figure(medians[`${name}.mesh.${metric}`]),
        ratios[key] === undefined ? '' : `${figure(ratios[key])} x`,
        span(spread[key]),
        span(noise[key]),
        ...(earlier ? [earlier[key] === undefined ? '' : `${figure(earlier[key])} x`] : []),
      ];
    }),
  );
  const costs = Object.entries(costMetrics).map(([metric, title]) => [
    title,
    ...paths.flatMap(({ name }) => [
      figure(medians[`${name}.direct.${metric}`]),
      figure(medians[`${name}.mesh.${metric}`]),
    ]),
  ]);
  return [
    `${settings['rounds']} rounds, ${settings['seconds']} s each; ${settings['messageBytes']}-byte messages; medians over rounds, ratios paired by round`,
    '',
    table(head, rows),
    '',
    table(['', ...paths.flatMap(({ name }) => [`${name} direct`, `${name} mesh`])], costs),
  ].join('\n');
}
