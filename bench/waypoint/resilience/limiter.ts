/**
 * Weft's rate limit service without a control plane: its certificate is in the configuration, and every certificate of the run may call.
 *
 *   node dist/bench/waypoint/resilience/limiter.js CONFIG.json
 */
import { readFileSync } from 'node:fs';
import { Counters } from '../../../src/rate-limit/counters.js';
import { RedisConnection } from '../../../src/rate-limit/redis.js';
import { RateLimitServer } from '../../../src/rate-limit/server.js';
import type { Svid } from '../../../src/tls/svid.js';
import { trustDomain } from '../identities.js';
import { parseWeftConfig } from '../config.js';

export interface LimiterConfig {
  readonly listen: number;
  readonly redisUrl: string;
  readonly svid: Svid;
}

const config = parseWeftConfig(readFileSync(process.argv[2] ?? '', 'utf8')) as LimiterConfig;
const redis = new RedisConnection({ url: config.redisUrl, replyMsMax: 1_000, onState: () => undefined });
const server = new RateLimitServer(
  {
    listen: `127.0.0.1:${config.listen}`,
    trustDomain,
    counters: new Counters({ call: (command) => redis.call(command) }),
    isWaypoint: () => true,
    onRefused: (why, peer) => console.error(`refused: ${why}, ${peer}`),
    onLimit: (limit) => console.error(`limit reached: ${limit}`),
    onCounted: () => undefined,
  },
  config.svid,
);
await server.listen();
process.on('SIGTERM', () => process.exit(0));
