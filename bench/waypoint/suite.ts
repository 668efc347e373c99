/**
 * Weft's waypoint beside one Envoy that does the same between the same endpoints, on plain connections: a route by header,
 * a 90/10 split, answers of 1 KB. The proxy has CPU 1 for itself; the load and the backends share CPU 0.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { residentBytes, spentBy } from '../harness/cost.js';
import { interleave, type Task } from '../harness/interleave.js';
import { cpuOf, loadProgram, numberAt, Servers } from '../harness/load.js';
import { findEnvoy } from '../peers/envoy.js';
import {
  closedLoop,
  closedLoops,
  closedTask,
  memoryTask,
  openConnections,
  openLoop,
  openWarmMs,
  type Path,
  type Target,
} from './measure.js';
import { bodyBytes, freePorts, proveRouted, routePath } from './scene.js';
import { plainTarget } from './plain-targets.js';
import { main, manyRoutes, openShare, reportOf, routed, type WaypointReport } from './plain-report.js';
import { needTools, systemCallsPerRequest } from './tools.js';

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

const manyPerSecond = 2000;

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
    const targetOf = (name: string, kind: 'weft' | 'envoy', routes: number): Target =>
      plainTarget({ ...options, servers, dir, envoy }, name, kind, {
        listen: ports.pop() ?? 0,
        a,
        b,
        routes,
        protocol: 'http1',
      });
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
    const systemCalls = await systemCallsPerRequest(compared, dir, options.seconds, onProgress);
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
