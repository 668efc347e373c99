/**
 * Weft's waypoint as it runs in a mesh, tunnels with mutual TLS in and out, beside Envoy in two ways of doing the same: mutual TLS
 * with HTTP/1.1 within, and HBONE. The proxy has CPU 1 for itself; load, backends and the ends that secure and unsecure
 * connections (ends.ts) share CPU 0, which they fill before a proxy fills its own: what counts is the proxy's CPU per request.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { residentBytes } from '../harness/cost.js';
import { interleave, type Task } from '../harness/interleave.js';
import { numberAt, Servers } from '../harness/load.js';
import { findEnvoy } from '../peers/envoy.js';
import { costWithin, type Cost } from './cost-within.js';
import { closedLoop, closedLoops, memoryTask, openConnections, openLoop, type Path } from './measure.js';
import { proveRouted } from './scene.js';
import type { WaypointOptions } from './suite.js';
import { securedPath, securedReportOf, type SecuredReport } from './secured-report.js';
import { startSecured, variants, type SecuredTarget, type Variant } from './secured-targets.js';
import { needTools, systemCallsPerRequest } from './tools.js';

export interface SecuredOptions extends WaypointOptions {
  /** Of the open loop; found by trial where absent. */
  readonly perSecond?: number;
}

/** Maximum utilization of CPU 0 and of the proxy's CPU in the open loop. */
const busyMax = 0.75;
const manyPerSecond = 300;
const manySecondsMin = 4;
/** Time for connections and handshakes. */
const warmMs = 1_500;
/** How long the load continues after the last measurement of its cost. */
const tailSeconds = 0.2;

/** As runWaypoint. */
export async function runSecured(options: SecuredOptions): Promise<SecuredReport> {
  if (availableParallelism() < 2)
    throw new WeftError('WEFT_START', 'one CPU is not enough: the proxy needs one for itself');
  needTools(['wrk', 'strace', 'tcpdump'], options.onProgress);
  const envoy = findEnvoy(options.envoy, options.onProgress);
  const dir = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const servers = new Servers();
  const onProgress = (text: string): void => {
    if (options.interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted, nothing is written');
    options.onProgress(text);
  };
  try {
    const { targets, fresh, proofs } = await startSecured(
      {
        ...options,
        protocol: 'http1',
        names: Object.keys(variants) as Variant[],
        envoy,
        servers,
        dir,
        onProgress,
      },
      proveRouted,
    );
    const capacities: number[] = [];
    for (const target of targets) {
      onProgress(`warming up ${target.name}`);
      await closedLoop(target, openConnections, options.longSeconds);
      const { perSecond } = await closedLoop(target, openConnections, options.seconds);
      if (target.name !== 'none') capacities.push(perSecond);
    }
    const perSecond =
      options.perSecond ?? (await sustained(targets, Math.min(...capacities), options.seconds, onProgress));
    const samples = await interleave<Path, SecuredTarget>({
      rounds: options.rounds,
      paths: [securedPath],
      variants: targets,
      tasks: [
        ...closedLoops.map((count) => closedTask(count, options.seconds)),
        openTask(perSecond, options.longSeconds),
        memoryTask(fresh, servers, manyPerSecond, Math.max(manySecondsMin, options.seconds)),
      ],
      onProgress,
    });
    const systemCalls = await systemCallsPerRequest(targets, dir, options.seconds, onProgress);
    return securedReportOf(options, samples, systemCalls, perSecond, envoy, proofs);
  } finally {
    await servers.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

const closedCost = (target: SecuredTarget, connections: number, seconds: number): Promise<[unknown, Cost]> =>
  costWithin(
    target,
    warmMs,
    seconds,
    closedLoop(target, connections, Math.ceil(warmMs / 1000 + seconds) + 1),
  );
const openCost = (target: SecuredTarget, perSecond: number, seconds: number): Promise<[unknown, Cost]> =>
  costWithin(
    target,
    warmMs,
    seconds,
    openLoop(target, perSecond, openConnections, seconds + tailSeconds, warmMs),
  );

function closedTask(connections: number, seconds: number): Task<Path, SecuredTarget> {
  return {
    name: `${connections} connections`,
    measure: async (_path, target) => {
      const [, cost] = await closedCost(target, connections, seconds);
      return {
        [`requests${connections}`]: cost.perSecond,
        [`load${connections}`]: cost.loadBusy,
        [`others${connections}`]: Math.max(0, cost.proxyBusy - cost.own),
        ...(target.pid === undefined
          ? {}
          : {
              [`own${connections}`]: cost.own,
              [`cpu${connections}`]: (cost.seconds * 1e6) / cost.requests,
            }),
      };
    },
  };
}

function openTask(perSecond: number, seconds: number): Task<Path, SecuredTarget> {
  return {
    name: `${perSecond} requests a second`,
    measure: async (_path, target) => {
      const [result, cost] = await openCost(target, perSecond, seconds);
      return {
        p50: numberAt(result, 'p50_us'),
        p90: numberAt(result, 'p90_us'),
        p99: numberAt(result, 'p99_us'),
        p999: numberAt(result, 'p999_us'),
        waited: numberAt(result, 'waited'),
        aroundOpen: cost.around,
        loadOpen: cost.loadBusy,
        ...(target.pid === undefined
          ? {}
          : {
              ownOpen: cost.own,
              cpuOpen: (cost.seconds * 1e6) / cost.requests,
              residentAfter: residentBytes(target.pid) / 1e6,
            }),
      };
    },
  };
}

/** A rate at which no proxy's CPU, and never CPU 0, is busy with this run for more than `busyMax` of the time. */
async function sustained(
  targets: readonly SecuredTarget[],
  capacity: number,
  seconds: number,
  onProgress: (text: string) => void,
): Promise<number> {
  let perSecond = Math.max(100, Math.floor((capacity * busyMax) / 100) * 100);
  for (;;) {
    onProgress(`trying ${perSecond} requests a second`);
    let busiest = 0;
    for (const target of targets) {
      const [, { own, around }] = await openCost(target, perSecond, seconds);
      busiest = Math.max(busiest, own, around);
    }
    if (busiest <= busyMax || perSecond <= 100) return perSecond;
    const next = Math.floor((perSecond * Math.max(0.5, Math.min(0.95, busyMax / busiest))) / 100) * 100;
    perSecond = Math.max(100, Math.min(perSecond - 100, next));
  }
}
