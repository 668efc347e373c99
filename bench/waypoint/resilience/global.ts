/** Global rate limits with a real Redis: decisions a second, calls of Redis, and what two replicas let through beyond a limit. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../../src/base/errors.js';
import { distRoot } from '../../../src/cli/run.js';
import { RedisConnection } from '../../../src/rate-limit/redis.js';
import { servingNodeFlags } from '../../../src/base/node-flags.js';
import { interleave } from '../../harness/interleave.js';
import { cpuOf, numberAt, runJson } from '../../harness/load.js';
import type { Sample } from '../../harness/statistics.js';
import { writeWeftConfig } from '../config.js';
import { makeIdentities } from '../identities.js';
import type { Path } from '../measure.js';
import { freePorts } from '../scene.js';
import type { LimiterConfig } from './limiter.js';
import type { ResilienceBench } from './proxies.js';
import type { ReplicaConfig } from './replica.js';
import { open } from './scene.js';

export const global: Path = { name: 'resilience-global' };
export const globalKeys = 1_000;
/** Of both replicas together. */
export const sharedLimit = 1_000;
/** The replicas together send as many times the limit. */
export const overload = 10;
const replicas = 2;

export async function measureGlobal(bench: ResilienceBench): Promise<Sample[]> {
  const [redisPort = 0, listen = 0] = await freePorts(2);
  bench.onProgress('starting redis-server and the rate limit service');
  const pin = ['-c', String(cpuOf.client)];
  await bench.servers.start(undefined, redisPort, 'taskset', [
    ...pin,
    ...['redis-server', '--port', String(redisPort), '--bind', '127.0.0.1', '--save', '', '--dir', bench.dir],
  ]);
  const redisUrl = `redis://127.0.0.1:${redisPort}`;
  const { waypoint, server } = makeIdentities();
  const program = (name: string): string => join(distRoot, 'bench', 'waypoint', 'resilience', `${name}.js`);
  const file = (name: string, config: object): string => {
    const path = join(bench.dir, `${name}.json`);
    writeFileSync(path, writeWeftConfig(config));
    return path;
  };
  const limiter: LimiterConfig = { listen, redisUrl, svid: server };
  await bench.servers.start(undefined, listen, 'taskset', [
    ...pin,
    process.execPath,
    program('limiter'),
    file('limiter', limiter),
  ]);
  const redis = new RedisConnection({ url: redisUrl, replyMsMax: 1_000, onState: () => undefined });
  /** Runs a replica to its end. */
  const replica = async (
    name: string,
    config: Pick<ReplicaConfig, 'requests' | 'keys' | 'perSecond' | 'warmSeconds' | 'seconds' | 'alignMs'>,
  ): Promise<unknown> => {
    const full: ReplicaConfig = {
      ...config,
      svid: waypoint,
      limiter: server,
      target: `127.0.0.1:${listen}`,
      perMs: 1_000,
    };
    const result = await runJson(
      undefined,
      'taskset',
      [
        ...['-c', String(cpuOf.server), process.execPath, ...servingNodeFlags, ...bench.nodeFlags],
        ...[program('replica'), file(name, full)],
      ],
      (config.warmSeconds + config.seconds) * 1000 + 30_000,
    );
    const failed = numberAt(result, 'failed');
    if (failed > 0) throw new WeftError('WEFT_COMMAND', `${name}: ${failed} requests without a decision`);
    return result;
  };
  /** Decisions for each second of CPU time, and calls of the service for each second. */
  const decisions = async (name: string, keys: number): Promise<readonly [number, number]> => {
    const result = await replica(name, {
      ...open,
      keys,
      // Leases of many keys grow over some calls.
      warmSeconds: 2,
      seconds: bench.seconds,
      alignMs: 0,
    });
    const made = numberAt(result, 'passed') + numberAt(result, 'limited');
    return [made / numberAt(result, 'cpuSeconds'), numberAt(result, 'calls') / numberAt(result, 'seconds')];
  };
  try {
    return await interleave<Path, { readonly name: string }>({
      rounds: bench.rounds,
      paths: [global],
      variants: [{ name: 'weft' }],
      tasks: [
        {
          name: 'decisions',
          measure: async () => {
            const [one, calls] = await decisions('one-key', 1);
            const [many, callsMany] = await decisions('many-keys', globalKeys);
            return { decisions: one, calls, decisionsMany: many, callsMany };
          },
        },
        {
          name: `${overload} times the limit`,
          measure: async () => {
            const seconds = Math.max(3, 2 * bench.seconds);
            const before = await scriptCalls(redis);
            const results = await Promise.all(
              Array.from({ length: replicas }, (_, at) =>
                replica(`replica-${at}`, {
                  requests: sharedLimit,
                  keys: 1,
                  warmSeconds: 0.5,
                  seconds,
                  alignMs: 1_000,
                  perSecond: (overload * sharedLimit) / replicas,
                }),
              ),
            );
            const sum = (field: string): number =>
              results.reduce<number>((all, one) => all + numberAt(one, field), 0);
            return {
              passedShare: sum('passed') / (sharedLimit * seconds),
              asked: (sum('passed') + sum('limited')) / seconds,
              roundTrips: ((await scriptCalls(redis)) - before) / Math.max(1, sum('callsAll')),
            };
          },
        },
      ],
      onProgress: bench.onProgress,
    });
  } finally {
    redis.stop();
  }
}

/** Calls of scripts that Redis has run. */
async function scriptCalls(redis: RedisConnection): Promise<number> {
  const info = String(await redis.call(['INFO', 'commandstats']));
  return [...info.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+)/gm)].reduce(
    (sum, [, calls]) => sum + Number(calls),
    0,
  );
}
