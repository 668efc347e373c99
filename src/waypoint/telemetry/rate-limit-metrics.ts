/**
 * Metrics of local rate limits, with Envoy's names for the prefix that Istio's documentation uses (`http_local_rate_limiter`). The counts are
 * kept beside the buckets, so that a request costs no look-up of labels.
 */
import type { Registry } from 'prom-client';
import { registerMetric } from '../../telemetry/series.js';

interface Counts {
  readonly enabled: number;
  readonly ok: number;
  readonly rateLimited: number;
  readonly enforced: number;
}
interface CountedLimit {
  readonly policy: string;
  readonly buckets: { readonly counts: Counts; readonly size: number };
}

/** Policies with series of their own. Further ones are counted as `other`. */
const seriesMax = 2_000;

export function registerRateLimitMetrics(registry: Registry, limits: Iterable<CountedLimit>): void {
  const register = (
    name: string,
    type: 'counter' | 'gauge',
    help: string,
    of: (limit: CountedLimit) => number,
  ): void =>
    registerMetric(registry, { name, help, type }, () => {
      // A policy has a limit for each Service port.
      const values = new Map<string, number>();
      for (const limit of limits) {
        const policy = values.size < seriesMax || values.has(limit.policy) ? limit.policy : 'other';
        values.set(policy, (values.get(policy) ?? 0) + of(limit));
      }
      return [...values].map(([policy, value]) => ({ labels: { policy }, value }));
    });
  const counter = (name: string, help: string, of: (counts: Counts) => number): void =>
    register(name, 'counter', help, ({ buckets }) => of(buckets.counts));
  counter(
    'envoy_http_local_rate_limiter_http_local_rate_limit_enabled',
    'Requests that a local rate limit counted, by policy',
    ({ enabled }) => enabled,
  );
  counter(
    'envoy_http_local_rate_limiter_http_local_rate_limit_ok',
    'Requests within a local rate limit',
    ({ ok }) => ok,
  );
  counter(
    'envoy_http_local_rate_limiter_http_local_rate_limit_rate_limited',
    'Requests beyond a local rate limit, in dry run as well',
    ({ rateLimited }) => rateLimited,
  );
  counter(
    'envoy_http_local_rate_limiter_http_local_rate_limit_enforced',
    'Requests that got 429 from a local rate limit',
    ({ enforced }) => enforced,
  );
  register(
    'weft_waypoint_rate_limit_buckets',
    'gauge',
    'Token buckets of local rate limits, of all workers together: workers may have the same one',
    ({ buckets }) => buckets.size,
  );
}
