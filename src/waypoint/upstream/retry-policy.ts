/**
 * Whether a request that failed is sent again. Pure; the table of cases is retry-policy.test.ts. The rule: nothing that an endpoint may have
 * executed is sent again unless its method makes the repetition harmless, or the route's author named the failure.
 */
import { timerMsMax } from '../../model/duration.js';
import type { RouteRetry } from '../../model/route.js';
import type { UpstreamFailure } from '../http/http-stream.js';

/** What is known of an attempt's execution by its endpoint. */
export type Execution =
  /** It was not executed: there was no connection, nothing was written, or the endpoint says so. */
  | 'none'
  /** A kept connection closed as the request was written to it. The usual cause is an idle connection that its owner closed. */
  | 'unlikely'
  /** The request was written, and the attempt ended without a response: it may have been executed. */
  | 'possible'
  /** The endpoint responded. */
  | 'responded';

export interface FailedAttempt {
  readonly method: string;
  readonly execution: Execution;
  /** Of the response, where the endpoint gave one. */
  readonly status?: number | undefined;
}

interface RetryLimits {
  /** Repeats of one request at most that go to an endpoint which it has not tried, or by a new connection: at once. */
  readonly elsewhere: number;
  /** Repeats at most that may go to an endpoint which the request has tried: after the backoff. */
  readonly anywhere: number;
}

/** RFC 9110, section 9.2.2: sent twice they have the effect that they have when sent once. */
const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);
/** Without a rule: other endpoints that are tried where nobody has executed the request. */
const unexecutedRepeatsMax = 2;
const repeatsDefault = 2;
const backoffMsMin = 25;
const backoffMsMax = 10_000;

const never: RetryLimits = { elsewhere: 0, anywhere: 0 };

/** How often a rule's author lets a request be sent again; 0 without `retry`. */
export const retriesOfRule = (retry: RouteRetry | undefined): number =>
  retry ? (retry.attempts ?? repeatsDefault) : 0;

/**
 * How often the request of an attempt that failed may be sent again in all. A rule's `retry` names statuses by its `codes`, and connection
 * errors by being there (GEP-1731); no field of it names a connection error of a request that may have been executed, so only idempotent
 * methods are sent again after one. That a rule matches a method says nothing about repeating it.
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

/** What a failure says of the request's execution. `wasSent`: the request was given to a connection. */
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
 * How long to wait before repeat number `repeat` (from 1): doubled with each, never below what the rule says (GEP-1731), and up to a tenth
 * longer so that clients do not come together; 2^31 - 1 ms at most. `random` in [0, 1).
 */
export function backoffMs(configured: number | undefined, repeat: number, random: number): number {
  // Never 0: doubled it would stay that, and one request could be sent again as fast as it fails.
  const base = Math.max(1, configured ?? backoffMsMin);
  const ms = Math.min(Math.max(backoffMsMax, base), base * 2 ** (repeat - 1)) * (1 + random * 0.1);
  return Math.min(ms, timerMsMax);
}
