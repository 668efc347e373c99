/** Metrics of the rate limit service. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

export class RateLimiterMetrics {
  readonly registry = new Registry();
  readonly limitReached = new Counter({
    name: 'weft_limit_reached_total',
    help: 'Number of times that a limit of the rate limit service was reached, by limit (docs/limits.md)',
    labelNames: ['limit'] as const,
    registers: [this.registry],
  });
  readonly counted = new Counter({
    name: 'weft_rate_limiter_descriptors_total',
    help: 'Descriptors that waypoints asked for, by result: granted, over-limit, error',
    labelNames: ['result'] as const,
    registers: [this.registry],
  });
  readonly refused = new Counter({
    name: 'weft_rate_limiter_calls_refused_total',
    help: 'Calls that were refused, by reason: identity, not-a-waypoint, calls, invalid',
    labelNames: ['reason'] as const,
    registers: [this.registry],
  });
  readonly redisUp = new Gauge({
    name: 'weft_rate_limiter_redis_up',
    help: '1 while there is a connection to Redis',
    registers: [this.registry],
  });
  readonly redisCalls = new Histogram({
    name: 'weft_rate_limiter_redis_call_seconds',
    help: 'Duration of calls to Redis, each for a batch of descriptors, by result: ok, error',
    labelNames: ['result'] as const,
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
    registers: [this.registry],
  });
  readonly batch = new Histogram({
    name: 'weft_rate_limiter_batch_descriptors',
    help: 'Descriptors of one call to Redis',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry, prefix: 'weft_' });
  }
}
