/** The measurements of a target. All comparisons of proxies use them. */
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { WeftError } from '../../src/base/errors.js';
import { sleep } from '../../src/base/wait.js';
import { distRoot } from '../../src/cli/run.js';
import { busyWhile, residentBytes, spentBy } from '../harness/cost.js';
import type { Task } from '../harness/interleave.js';
import { cpuOf, loadProgram, numberAt, runJson, type Servers } from '../harness/load.js';

export interface Path {
  readonly name: string;
}
/** Receiver of the requests: a proxy, or the backends themselves. */
export interface Target {
  readonly name: string;
  readonly port: number;
  readonly start?: () => Promise<number>;
  pid?: number | undefined;
}

export const closedLoops = [1, 16, 64];
export const openConnections = 64;
export const openWarmMs = 300;
export const manyConnections = 1000;
/** Share of the proxy's CPU that other programs may use. Beyond it the report calls the run disturbed. */
export const othersMax = 0.05;
const slackMs = 30_000;

/** Each connection sends its next request when the response has arrived. `keys`: values of x-user, which the requests have in turn. */
export async function closedLoop(
  { name, port }: Target,
  connections: number,
  seconds: number,
  keys?: number,
): Promise<{ readonly requests: number; readonly perSecond: number }> {
  const result = await runJson(
    undefined,
    'taskset',
    [
      '-c',
      String(cpuOf.client),
      'wrk',
      '-t1',
      `-c${connections}`,
      `-d${seconds}s`,
      `-s${join(dirname(distRoot), 'bench', 'waypoint', 'load.lua')}`,
      `http://127.0.0.1:${port}/`,
      ...(keys === undefined ? [] : ['--', String(keys)]),
    ],
    seconds * 1000 + slackMs,
  );
  const requests = numberAt(result, 'requests');
  const failed = numberAt(result, 'failed');
  if (failed > 0) throw new WeftError('WEFT_COMMAND', `${failed} of ${requests} requests to ${name} failed`);
  return { requests, perSecond: (requests * 1e6) / numberAt(result, 'us') };
}

/** Sends requests at fixed times. `flags`: of bench/load/requests.c. */
export const openLoop = (
  { port }: Target,
  perSecond: number,
  connections: number,
  seconds: number,
  warmMs = openWarmMs,
  flags: readonly string[] = [],
): Promise<unknown> =>
  runJson(
    undefined,
    loadProgram('requests'),
    [
      ...flags,
      '127.0.0.1',
      String(port),
      String(cpuOf.client),
      String(perSecond),
      String(connections),
      String(Math.round(seconds * 1000)),
      String(warmMs),
    ],
    seconds * 1000 + warmMs + slackMs,
  );

export function closedTask(connections: number, seconds: number, keys?: number): Task<Path, Target> {
  return {
    name: `${connections} connections`,
    measure: async (_path, target) => {
      const pids = target.pid === undefined ? [] : [target.pid];
      const beganMs = performance.now();
      const [[[{ requests, perSecond }, spent], busy], loadBusy] = await busyWhile(cpuOf.client, () =>
        busyWhile(cpuOf.server, () => spentBy(pids, () => closedLoop(target, connections, seconds, keys))),
      );
      const own = (spent.processSeconds * 1000) / (performance.now() - beganMs);
      return {
        [`requests${connections}`]: perSecond,
        [`others${connections}`]: Math.max(0, busy - own),
        [`loadBusy${connections}`]: loadBusy,
        ...(pids.length > 0
          ? { [`own${connections}`]: own, [`cpu${connections}`]: (spent.processSeconds * 1e6) / requests }
          : {}),
      };
    },
  };
}

/** What a proxy holds that was started for this, with `manyConnections` connections at `perSecond` requests. */
export function memoryTask(
  fresh: ReadonlyMap<string, Target>,
  servers: Servers,
  perSecond: number,
  seconds: number,
): Task<Path, Target> {
  return {
    name: 'memory',
    measure: async (_path, { name }) => {
      const target = fresh.get(name);
      if (!target?.start) return {};
      const pid = await target.start();
      const idle = residentBytes(pid);
      let resident = 0;
      let over = false;
      const load = openLoop(target, perSecond, manyConnections, seconds).finally(() => (over = true));
      const watch = async (): Promise<void> => {
        while (!over) {
          resident = residentBytes(pid);
          await sleep(50);
        }
      };
      await Promise.all([load, watch()]);
      await servers.end(pid);
      return { residentIdle: idle / 1e6, resident: resident / 1e6 };
    },
  };
}
