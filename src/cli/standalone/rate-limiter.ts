/** Weft's rate limit service in a testbed, with a redis-server of its own unless one is given. Both run on the underlay, as the control plane does. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../base/wait.js';
import { rateLimiterPort } from '../../model/rate-limit.js';
import { programs, sh } from '../run.js';
import { controlPort, type Testbed } from './testbed.js';
import { underlayNetns } from './topology.js';

export const redisProcess = 'redis';
export const rateLimiterProcess = 'rate-limiter';
/** In a network namespace of its own, so a server of the machine does not conflict. */
const redisPort = 6379;
const metricsPort = 15022;
const readyMsMax = 90_000;

interface RateLimiterPlace {
  /** `redis://` or `rediss://`, as seen from the underlay. Absent: a redis-server is started. */
  readonly redis?: string;
}

/** Starts a redis-server without files on the underlay. Errors: WEFT_START, WEFT_TIMEOUT. */
export async function startRedis(testbed: Testbed): Promise<void> {
  const dir = join(testbed.state, redisProcess);
  mkdirSync(dir, { recursive: true });
  const before = testbed.log(redisProcess).length;
  testbed.start(redisProcess, underlayNetns, 'redis-server', [
    ...['--bind', '127.0.0.1', '--port', String(redisPort)],
    ...['--save', '', '--appendonly', 'no', '--dir', dir],
  ]);
  await until('redis is ready', readyMsMax, () => {
    const log = testbed.log(redisProcess).slice(before);
    return log.includes('Ready to accept connections') || testbed.died(redisProcess);
  });
}

/** Starts the service. Resolves once it listens and is connected to Redis. Errors: WEFT_START, WEFT_TIMEOUT, WEFT_COMMAND. */
export async function startRateLimiter(testbed: Testbed, { redis }: RateLimiterPlace = {}): Promise<void> {
  if (redis === undefined) await startRedis(testbed);
  const token = join(testbed.state, 'token-rate-limiter');
  writeFileSync(
    token,
    sh(process.execPath, [programs.control, 'token', '--state', testbed.controlState(), '--rate-limiter']),
    { mode: 0o600 },
  );
  // A URL may have a password, and other users of the machine see arguments.
  const url = join(testbed.state, 'redis-url');
  writeFileSync(url, redis ?? `redis://127.0.0.1:${redisPort}`, { mode: 0o600 });
  const { controlIp } = testbed.topology;
  const before = testbed.log(rateLimiterProcess).length;
  testbed.start(rateLimiterProcess, underlayNetns, process.execPath, [
    programs.rateLimiter,
    ...['--redis-url-file', url],
    ...['--control', `${controlIp}:${controlPort}`],
    ...['--root', join(testbed.controlState(), 'root-cert.pem')],
    ...['--token', token],
    ...['--listen', `${controlIp}:${rateLimiterPort}`],
    ...['--metrics-listen', `127.0.0.1:${metricsPort}`],
  ]);
  await until('the rate limit service is ready', readyMsMax, () => {
    const log = testbed.log(rateLimiterProcess).slice(before);
    const isReady = log.includes('"msg":"listening"') && log.includes('"msg":"Redis connected"');
    return isReady || testbed.died(rateLimiterProcess);
  });
}
