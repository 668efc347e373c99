/** CPU time of a proxy and of the programs beside it, per request, while a load runs. */
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { WeftError } from '../../src/base/errors.js';
import { sleep } from '../../src/base/wait.js';
import { busyWhile, childrenCpuSeconds, processCpuSeconds } from '../harness/cost.js';
import { cpuOf } from '../harness/load.js';
import type { Target } from './measure.js';

/** A target, and the programs that send it requests and respond to them. */
export interface CountedTarget extends Target {
  /** The ends and the backends. */
  readonly around: readonly number[];
  /** Requests to which the backends have responded so far. */
  readonly count: () => number;
}

export interface Cost {
  readonly requests: number;
  readonly perSecond: number;
  /** CPU seconds of the proxy. */
  readonly seconds: number;
  /** Shares of time: the proxy of its CPU; ends, backends and load of theirs. */
  readonly own: number;
  readonly around: number;
  /** Utilization of each CPU by all programs. */
  readonly proxyBusy: number;
  readonly loadBusy: number;
}

const loads: ReadonlySet<string> = new Set(['wrk', 'requests', 'h2client']);

/** Reads the file in which a backend (`-c FILE`) counts its responses. */
export const counterIn = (file: string) => (): number => Number(readFileSync(file).readBigUInt64LE());

/**
 * The cost of `seconds` of a load that began just now and runs for longer: its connections stand after `warmMs`, and none ends
 * before the last reading.
 */
export async function costWithin<T>(
  { pid, around, count }: CountedTarget,
  warmMs: number,
  seconds: number,
  load: Promise<T>,
): Promise<[T, Cost]> {
  let failed: unknown;
  load.catch((error: unknown) => (failed = error));
  await sleep(warmMs);
  const read = (): { proxy: number; around: number; requests: number; ms: number } => ({
    proxy: pid === undefined ? 0 : processCpuSeconds(pid),
    around: around.reduce((sum, one) => sum + processCpuSeconds(one), 0) + childrenCpuSeconds(loads),
    requests: count(),
    ms: performance.now(),
  });
  const [[[before, after], proxyBusy], loadBusy] = await busyWhile(cpuOf.client, () =>
    busyWhile(cpuOf.server, async () => {
      const begin = failed === undefined ? read() : undefined;
      await sleep(seconds * 1000);
      return [begin, failed === undefined ? read() : undefined] as const;
    }),
  );
  const result = await load;
  if (!before || !after || after.requests <= before.requests)
    throw new WeftError('WEFT_COMMAND', 'no response while requests were counted');
  const passed = (after.ms - before.ms) / 1000;
  const requests = after.requests - before.requests;
  const own = after.proxy - before.proxy;
  return [
    result,
    {
      requests,
      perSecond: requests / passed,
      seconds: own,
      own: own / passed,
      around: (after.around - before.around) / passed,
      proxyBusy,
      loadBusy,
    },
  ];
}
