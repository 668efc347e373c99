/**
 * Weft's waypoint beside one Envoy that does the same between the same endpoints, on plain connections: a route by header,
 * a 90/10 split, answers of 1 KB. The proxy has CPU 1 for itself; the load and the backends share CPU 0.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { distRoot } from '../../src/cli/run.js';
import { residentBytes, spentBy } from '../harness/cost.js';
import { interleave, type Task } from '../harness/interleave.js';
import { cpuOf, loadProgram, numberAt, Servers } from '../harness/load.js';
import { figure, machine, table, type Report } from '../harness/report.js';
import {
  median,
  ratiosByRound,
  spreadOf,
  valuesOf,
  type Sample,
  type Spread,
} from '../harness/statistics.js';
import { findEnvoy } from '../peers/envoy.js';
import { envoyArgs, envoyConfig } from './envoy.js';
import {
  closedLoop,
  closedLoops,
  closedTask,
  manyConnections,
  memoryTask,
  openConnections,
  openLoop,
  openWarmMs,
  othersMax,
  type Path,
  type Target,
} from './measure.js';
import { bodyBytes, freePorts, proveRouted, routePath, type Scene } from './scene.js';
import { needTools, systemCallsOf } from './tools.js';
import { weftConfig } from './weft.js';

export interface WaypointOptions {
  readonly rounds: number;
  /** How long each closed loop runs, whole seconds. */
  readonly seconds: number;
  /** How long the open loop runs, and each proxy is warmed up. */
  readonly longSeconds: number;
  /** A binary instead of the one that is fetched. */
  readonly envoy?: string;
  /** For the process of Weft's proxy. */
  readonly nodeFlags: readonly string[];
  readonly onProgress: (text: string) => void;
  /** Asked between measurements. */
  readonly interrupted: () => boolean;
}

export interface WaypointReport extends Report {
  /** Why there are no figures of Envoy's. */
  readonly missing?: string;
  /** Proxy -> system call -> how many per request, from one run under a tracer. */
  readonly systemCalls: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly goals: readonly Goal[];
}

export interface Goal {
  readonly what: string;
  readonly wanted: string;
  readonly found: Spread | undefined;
  /** `by the median alone`: not in every round. */
  readonly state: 'reached' | 'by the median alone' | 'not reached' | 'not measured';
}

/** Of the slower proxy's capacity. */
const openShare = 0.7;
const manyPerSecond = 2000;
const manyRoutes = 5000;
const costRatioMax = 1.2;
const main: Path = { name: 'main' };
const routed: Path = { name: 'routes' };

const metrics: Readonly<Record<string, { readonly title: string; readonly unit: string }>> = {
  ...Object.fromEntries(
    closedLoops.map((connections) => [
      `requests${connections}`,
      { title: `requests, ${connections} connections`, unit: '1/s' },
    ]),
  ),
  p50: { title: 'p50, open loop', unit: 'us' },
  p99: { title: 'p99, open loop', unit: 'us' },
  ...Object.fromEntries(
    closedLoops.map((connections) => [
      `cpu${connections}`,
      { title: `proxy CPU per request, ${connections} connections`, unit: 'us' },
    ]),
  ),
  cpuOpen: { title: 'proxy CPU per request, open loop', unit: 'us' },
  own64: { title: "the proxy's CPU: the proxy, 64 connections", unit: 'share' },
  others64: { title: "the proxy's CPU: others meanwhile", unit: 'share' },
  loadBusy64: { title: "the load's CPU: busy meanwhile", unit: 'share' },
  residentIdle: { title: 'memory, just started', unit: 'MB' },
  resident: { title: `memory, ${manyConnections} connections`, unit: 'MB' },
  residentAfter: { title: 'memory, after full load', unit: 'MB' },
};

/** Say how far to trust the others; a ratio of them says nothing. */
const ofTheMachine: ReadonlySet<string> = new Set(['own64', 'others64', 'loadBusy64']);

/** Starts both proxies, measures, ends them. Throws where a measurement fails or the run is interrupted. */
export async function runWaypoint(options: WaypointOptions): Promise<WaypointReport> {
  if (availableParallelism() < 2)
    throw new WeftError('WEFT_START', 'one CPU is not enough: the proxy needs one for itself');
  needTools(['wrk', 'strace'], options.onProgress);
  const envoy = findEnvoy(options.envoy, options.onProgress);
  const dir = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const servers = new Servers();
  const onProgress = (text: string): void => {
    if (options.interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted, nothing is written');
    options.onProgress(text);
  };
  try {
    const [a = 0, b = 0, ...ports] = await freePorts(8);
    await servers.start(undefined, a, loadProgram('responder'), [
      String(cpuOf.client),
      String(bodyBytes),
      'a',
      String(a),
      'b',
      String(b),
    ]);
    const none: Target = { name: 'none', port: a };
    const targetOf = (name: string, kind: 'weft' | 'envoy', routes: number): Target => {
      const scene: Scene = { listen: ports.pop() ?? 0, a, b, routes };
      const file = join(dir, `${name}.json`);
      writeFileSync(file, kind === 'weft' ? weftConfig(scene) : envoyConfig(scene));
      const command =
        kind === 'weft'
          ? [process.execPath, ...options.nodeFlags, join(distRoot, 'bench', 'waypoint', 'plain.js'), file]
          : ['path' in envoy ? envoy.path : '', ...envoyArgs(file)];
      const start = (): Promise<number> =>
        servers.start(undefined, scene.listen, 'taskset', ['-c', String(cpuOf.server), ...command]);
      return { name, port: scene.listen, start };
    };
    const proxies = [
      ...('path' in envoy
        ? [targetOf('envoy', 'envoy', 1), targetOf('envoy-routes', 'envoy', manyRoutes)]
        : []),
      targetOf('weft', 'weft', 1),
      targetOf('weft-routes', 'weft', manyRoutes),
    ];
    // Apart from those under load: what a process holds depends on what it has been through.
    const fresh = new Map(
      [...('path' in envoy ? (['envoy'] as const) : []), 'weft' as const].map((name) => [
        name as string,
        targetOf(`${name}-fresh`, name, 1),
      ]),
    );
    for (const proxy of proxies) {
      onProgress(`starting ${proxy.name}`);
      proxy.pid = await proxy.start?.();
      await proveRouted(
        proxy.name,
        proxy.port,
        proxy.name.endsWith('-routes') ? [routePath(0), routePath(manyRoutes - 2)] : [],
      );
    }
    const byName = (name: string): Target | undefined => proxies.find((one) => one.name === name);
    const compared = [none, byName('envoy'), byName('weft')].filter((one) => one !== undefined);
    const withRoutes = [
      byName('weft'),
      byName('weft-routes'),
      byName('envoy'),
      byName('envoy-routes'),
    ].filter((one) => one !== undefined);
    const capacities: number[] = [];
    for (const target of new Set([...compared, ...withRoutes])) {
      onProgress(`warming up ${target.name}`);
      await closedLoop(target, openConnections, options.longSeconds);
      const values = await closedLoop(target, openConnections, options.seconds);
      if (target !== none && compared.includes(target)) capacities.push(values.perSecond);
    }
    const perSecond = Math.round(Math.min(...capacities) * openShare);
    const samples = [
      ...(await interleave<Path, Target>({
        rounds: options.rounds,
        paths: [main],
        variants: compared,
        tasks: tasksOf(options, perSecond, fresh, servers),
        onProgress,
      })),
      ...(await interleave<Path, Target>({
        rounds: options.rounds,
        paths: [routed],
        variants: withRoutes,
        tasks: [closedTask(16, options.seconds)],
        onProgress,
      })),
    ];
    const systemCalls: Record<string, Record<string, number>> = {};
    for (const target of compared) {
      if (target.pid === undefined) continue;
      onProgress(`system calls of ${target.name}`);
      let requests = 0;
      const calls = await systemCallsOf(target.pid, dir, async () => {
        requests = (await closedLoop(target, 16, Math.min(2, options.seconds))).requests;
      });
      systemCalls[target.name] = Object.fromEntries(
        Object.entries(calls).map(([name, count]) => [name, count / requests]),
      );
    }
    return reportOf(options, samples, systemCalls, perSecond, envoy);
  } finally {
    await servers.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

function tasksOf(
  { seconds, longSeconds }: WaypointOptions,
  perSecond: number,
  fresh: ReadonlyMap<string, Target>,
  servers: Servers,
): Task<Path, Target>[] {
  return [
    ...closedLoops.map((connections) => closedTask(connections, seconds)),
    {
      name: `${perSecond} requests a second`,
      measure: async (_path, target) => {
        const pids = target.pid === undefined ? [] : [target.pid];
        const [result, spent] = await spentBy(pids, () =>
          openLoop(target, perSecond, openConnections, longSeconds),
        );
        const all = numberAt(result, 'requests') * (1 + openWarmMs / (longSeconds * 1000));
        return {
          p50: numberAt(result, 'p50_us'),
          p90: numberAt(result, 'p90_us'),
          p99: numberAt(result, 'p99_us'),
          p999: numberAt(result, 'p999_us'),
          waited: numberAt(result, 'waited'),
          ...(target.pid === undefined
            ? {}
            : {
                cpuOpen: (spent.processSeconds * 1e6) / all,
                residentAfter: residentBytes(target.pid) / 1e6,
              }),
        };
      },
    },
    memoryTask(fresh, servers, manyPerSecond, seconds),
  ];
}

/** Samples to report. Pure but for what it says of the machine. */
export function reportOf(
  {
    rounds,
    seconds,
    longSeconds,
    nodeFlags,
  }: Pick<WaypointOptions, 'rounds' | 'seconds' | 'longSeconds' | 'nodeFlags'>,
  samples: readonly Sample[],
  systemCalls: WaypointReport['systemCalls'],
  perSecond: number,
  envoy: { readonly version: string } | { readonly missing: string },
): WaypointReport {
  const ratios: Record<string, number> = {};
  const spread: Record<string, Spread> = {};
  const noise: Record<string, Spread> = {};
  const medians: Record<string, number> = {};
  const compare = (key: string, path: Path, metric: string, variant: string, base: string): void => {
    const found = spreadOf(ratiosByRound(samples, path.name, metric, variant, base));
    if (!found) return;
    ratios[key] = found.median;
    spread[key] = found;
  };
  for (const metric of Object.keys(metrics)) {
    if (ofTheMachine.has(metric)) continue;
    compare(`main.${metric}`, main, metric, 'weft', 'envoy');
    const alone = valuesOf(samples, main.name, 'none', metric);
    const middle = alone.length > 0 ? median(alone) : 0;
    const floor = spreadOf(alone.map((value) => value / middle));
    if (floor && middle > 0) noise[`main.${metric}`] = floor;
  }
  // Divided the other way round: what a request costs with all those routes, against one.
  compare('routes.weft', routed, 'requests16', 'weft', 'weft-routes');
  compare('routes.envoy', routed, 'requests16', 'envoy', 'envoy-routes');
  for (const { path, variant, values } of samples) {
    for (const metric of Object.keys(values)) {
      const all = valuesOf(samples, path, variant, metric);
      medians[`${path}.${variant}.${metric}`] = median(all);
    }
  }
  const goal = (what: string, wanted: string, key: string, holds: (ratio: number) => boolean): Goal => {
    const found = spread[key];
    const state = !found
      ? 'not measured'
      : !holds(found.median)
        ? 'not reached'
        : holds(found.min) && holds(found.max)
          ? 'reached'
          : 'by the median alone';
    return { what, wanted, found, state };
  };
  return {
    suite: 'waypoint',
    settings: {
      rounds,
      seconds,
      longSeconds,
      bodyBytes,
      openPerSecond: perSecond,
      openConnections,
      nodeFlags: nodeFlags.join(' '),
      envoy: 'version' in envoy ? envoy.version : 'missing',
    },
    machine: machine(),
    ratios,
    spread,
    noise,
    medians,
    rounds: samples,
    ...('missing' in envoy ? { missing: envoy.missing } : {}),
    systemCalls,
    goals: [
      ...closedLoops.map((connections) =>
        goal(
          `requests a second, ${connections} connections, Weft / Envoy`,
          'more than 1',
          `main.requests${connections}`,
          (ratio) => ratio > 1,
        ),
      ),
      goal('p50, Weft / Envoy', 'less than 1', 'main.p50', (ratio) => ratio < 1),
      goal(
        `cost of ${manyRoutes} routes against one, Weft`,
        `at most ${costRatioMax}`,
        'routes.weft',
        (ratio) => ratio <= costRatioMax,
      ),
    ],
  };
}

const span = (of: Spread | undefined): string => (of ? `${figure(of.min)}..${figure(of.max)}` : '');

export function printWaypoint(report: WaypointReport): string {
  const { medians, ratios, spread, noise, settings, systemCalls, goals, missing, rounds } = report;
  const disturbed = Math.max(
    ...closedLoops.flatMap((connections) =>
      ['envoy', 'weft'].map((name) => medians[`main.${name}.others${connections}`] ?? 0),
    ),
  );
  const cell = (path: Path, variant: string, metric: string): string => {
    if (variant === 'envoy' && missing !== undefined) return 'missing';
    const value = medians[`${path.name}.${variant}.${metric}`];
    return value === undefined ? '' : figure(value);
  };
  const within = (path: Path, variant: string, metric: string): string =>
    span(spreadOf(valuesOf(rounds, path.name, variant, metric)));
  const rows = Object.entries(metrics).map(([metric, { title, unit }]) => [
    title,
    unit,
    cell(main, 'none', metric),
    cell(main, 'envoy', metric),
    within(main, 'envoy', metric),
    cell(main, 'weft', metric),
    within(main, 'weft', metric),
    ratios[`main.${metric}`] === undefined ? '' : `${figure(ratios[`main.${metric}`])} x`,
    span(spread[`main.${metric}`]),
    span(noise[`main.${metric}`]),
  ]);
  const routes = (['weft', 'envoy'] as const).map((name) => [
    name,
    cell(routed, name, 'requests16'),
    missing !== undefined && name === 'envoy' ? 'missing' : cell(routed, `${name}-routes`, 'requests16'),
    ratios[`routes.${name}`] === undefined ? '' : `${figure(ratios[`routes.${name}`])} x`,
    span(spread[`routes.${name}`]),
  ]);
  const total = (name: string): number =>
    Object.values(systemCalls[name] ?? {}).reduce((sum, count) => sum + count, 0);
  const calls = Object.keys(systemCalls).map((name) => [
    name,
    figure(total(name)),
    Object.entries(systemCalls[name] ?? {})
      .filter(([, count]) => count >= 0.005)
      .sort(([, x], [, y]) => y - x)
      .map(([call, count]) => `${call} ${count.toFixed(2)}`)
      .join(', '),
  ]);
  return [
    `${settings['rounds']} rounds, ${settings['seconds']} s each, open loop ${settings['longSeconds']} s; answers of ${settings['bodyBytes']} bytes; Envoy ${settings['envoy']}; Node flags: ${settings['nodeFlags'] || 'none'}`,
    `the proxy has CPU ${cpuOf.server} for itself, load and backends share CPU ${cpuOf.client}; none: load to backend without a proxy`,
    `open loop: ${settings['openPerSecond']} requests a second (${openShare * 100} % of the slower proxy's capacity) on ${openConnections} connections, timed from when they were due`,
    ...(missing === undefined ? [] : [missing]),
    ...(disturbed > othersMax
      ? [
          `DISTURBED: other programs took ${Math.round(disturbed * 100)} % of the proxy's CPU; requests a second and latency say little, CPU per request says more`,
        ]
      : []),
    '',
    table(
      [
        '',
        'unit',
        'none',
        'envoy',
        'over rounds',
        'weft',
        'over rounds',
        'weft / envoy',
        'over rounds',
        'none / its median',
      ],
      rows,
    ),
    '',
    table(
      ['requests a second, 16 connections', '1 route', `${manyRoutes} routes`, '1 / all', 'over rounds'],
      routes,
    ),
    '',
    table(['system calls per request, traced, 16 connections', 'all', 'which'], calls),
    '',
    table(
      ['goal', 'wanted', 'found', 'over rounds', ''],
      goals.map(({ what, wanted, found, state }) => [
        what,
        wanted,
        figure(found?.median),
        span(found),
        state,
      ]),
    ),
  ].join('\n');
}
