/**
 * Decides whether a failed request is retried. Pure; the table of cases is retry-policy.test.ts. A request that an endpoint may have executed
 * is retried only if its method is idempotent or the route's author named the failure.
 */
import { timerMsMax } from '../../model/duration.js';
import type { RouteRetry } from '../../model/route.js';
import type { UpstreamFailure } from '../http/http-stream.js';

/** Whether the endpoint executed the request of an attempt. */
export type Execution =
  /** Not executed: there was no connection, nothing was written, or the endpoint said so. */
  | 'none'
  /** A reused connection closed while the request was written. The usual cause is that the endpoint closed an idle connection. */
  | 'unlikely'
  /** The request was written and the attempt ended without a response: the endpoint may have executed it. */
  | 'possible'
  /** The endpoint responded. */
  | 'responded';

export interface FailedAttempt {
  readonly method: string;
  readonly execution: Execution;
  /** The response's status, if the endpoint responded. */
  readonly status?: number | undefined;
}

interface RetryLimits {
  /** Retries of one request to an endpoint that it has not tried, or by a new connection. They are sent without a backoff. */
  readonly elsewhere: number;
  /** Retries of one request to an endpoint that it has tried. They are sent after the backoff. */
  readonly anywhere: number;
}

/** Idempotent methods (RFC 9110, section 9.2.2): sending the request twice has the same effect as sending it once. */
const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);
/** Other endpoints that are tried without a retry rule, if no endpoint has executed the request. */
const unexecutedRepeatsMax = 2;
const repeatsDefault = 2;
const backoffMsMin = 25;
const backoffMsMax = 10_000;

const never: RetryLimits = { elsewhere: 0, anywhere: 0 };

/** Retries that a rule allows; 0 without `retry`. */
export const retriesOfRule = (retry: RouteRetry | undefined): number =>
  retry ? (retry.attempts ?? repeatsDefault) : 0;

/**
 * The total number of retries of a request after this failed attempt. A rule's `retry` names statuses by its `codes`, and connection errors by
 * its presence (GEP-1731). None of its fields names a connection error of a request that may have been executed, so after such an error only
 * idempotent methods are retried. A rule that matches a method does not thereby allow retries of it.
 */
export function retryLimitsOf(failed: FailedAttempt, retry: RouteRetry | undefined): RetryLimits {
  const { method, execution, status } = failed;
  const anywhere = retriesOfRule(retry);
  const unexecuted: RetryLimits = { elsewhere: Math.max(unexecutedRepeatsMax, anywhere), anywhere };
  switch (execution) {
    case 'none':
      return unexecuted;
    case 'unlikely':
      return idempotent.has(method) ? unexecuted : never;
    case 'possible':
      return idempotent.has(method) ? { elsewhere: anywhere, anywhere } : never;
    case 'responded':
      return status !== undefined && retry?.codes.includes(status) === true
        ? { elsewhere: anywhere, anywhere }
        : never;
  }
}

/** Whether the request of a failed attempt was executed. `wasSent`: the request was passed to a connection. */
export function executionOf({ kind }: UpstreamFailure, wasSent: boolean): Execution {
  switch (kind) {
    case 'connect':
    case 'overflow':
    case 'refused':
      return 'none';
    case 'stale':
      return 'unlikely';
    case 'reset':
    case 'protocol':
    case 'timeout':
      return wasSent ? 'possible' : 'none';
  }
}

/**
 * The backoff before retry number `repeat` (from 1): doubled with each retry, never below the rule's value (GEP-1731), plus up to 10 % of
 * jitter so that clients do not retry at the same moment; at most 2^31 - 1 ms. `random` in [0, 1).
 */
export function backoffMs(configured: number | undefined, repeat: number, random: number): number {
  // Never 0: it would stay 0 when doubled, and a request would be retried as fast as it fails.
  const base = Math.max(1, configured ?? backoffMsMin);
  const ms = Math.min(Math.max(backoffMsMax, base), base * 2 ** (repeat - 1)) * (1 + random * 0.1);
  return Math.min(ms, timerMsMax);
}
