/**
 * Decides whether a failed request is retried. Pure; the table of cases is retry-policy.test.ts. A request that an endpoint may have executed
 * is retried only if its method is idempotent, a TrafficPolicy names its method, or a route's rule names the status of the response.
 */
import type { RetryPolicy } from '../../discovery/gen/weft.js';
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
  /** How the attempt failed without a response. */
  readonly failure?: UpstreamFailure | undefined;
  /** The response, if the endpoint responded: its status, and that of gRPC if it is in the response's head. */
  readonly status?: number | undefined;
  readonly grpcStatus?: string | undefined;
}

/** Which requests are retried, and how: made of a rule's `retry`, of a TrafficPolicy's, or of both. */
export interface RetryRules {
  /** Retries of one request. */
  readonly attempts: number;
  /** Failures without a response that are retried. */
  readonly connectFailure: boolean;
  readonly refused: boolean;
  readonly reset: boolean;
  /** Statuses that a route's rule names: they are retried whatever the method (GEP-1731). */
  readonly codes: readonly number[];
  /** Whether the policy retries a status, if the method allows it. */
  readonly retriesStatus: (status: number) => boolean;
  readonly grpcStatuses: readonly string[];
  /** Methods that are retried although they are not idempotent. */
  readonly unsafeMethods: readonly string[];
  readonly backoff: Backoff;
  /** Waits as the response says, at most this long. 0: the response's fields are not read. */
  readonly retryAfterMsMax: number;
  /** 0: none. */
  readonly perTryTimeoutMs: number;
  /** A further attempt starts at the timeout of a try, which goes on. */
  readonly hedges: boolean;
  /** The settings are those of a TrafficPolicy, whose actions are counted and logged. */
  readonly isOfPolicy: boolean;
}

interface Backoff {
  readonly baseMs: number;
  readonly msMax: number;
  /** True: any time up to the backoff, as Envoy. False: never less than the backoff, as GEP-1731. */
  readonly hasFullJitter: boolean;
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
const noStatus = (): boolean => false;

const withoutPolicy: Omit<RetryRules, 'attempts' | 'codes' | 'backoff'> = {
  connectFailure: true,
  refused: true,
  reset: true,
  retriesStatus: noStatus,
  grpcStatuses: [],
  unsafeMethods: [],
  retryAfterMsMax: 0,
  perTryTimeoutMs: 0,
  hedges: false,
  isOfPolicy: false,
};

/** Compiles the `retry` of a TrafficPolicy. */
export function rulesOfPolicy(policy: RetryPolicy): RetryRules {
  const has = (condition: string): boolean => policy.conditionKind.includes(condition);
  // Envoy counts a connection error as a response with 502 to 504, which is also 5xx.
  const any = has('5xx') || has('gateway-error') || has('reset');
  const { codes } = policy;
  // Asked for each response.
  const [of5xx, ofGateway] = [has('5xx'), has('gateway-error')];
  const baseMs = policy.backoffBaseMs || backoffMsMin;
  return {
    attempts: policy.attempts,
    connectFailure: any || has('connect-failure'),
    refused: any || has('refused-stream'),
    reset: any,
    codes: [],
    retriesStatus: (status) =>
      (of5xx && status >= 500 && status <= 599) ||
      (ofGateway && status >= 502 && status <= 504) ||
      codes.includes(status),
    grpcStatuses: policy.grpcCodes.map(String),
    unsafeMethods: policy.unsafeMethods,
    backoff: { baseMs, msMax: Math.max(baseMs, policy.backoffMsMax || 10 * baseMs), hasFullJitter: true },
    retryAfterMsMax: policy.retryAfterMsMax,
    perTryTimeoutMs: policy.perTryTimeoutMs,
    hedges: policy.hedge && policy.perTryTimeoutMs > 0,
    isOfPolicy: true,
  };
}

/**
 * The rules for requests of a route's rule. Its `retry` decides what is retried, how often, and with which backoff. What it has no field for
 * stays as the policy says: time of a try, hedging, the time that the endpoint asks for, and methods that the endpoint may get twice.
 */
export function rulesOfRule(retry: RouteRetry, policy: RetryRules = noPolicy): RetryRules {
  let known = rulesKnown.get(retry);
  if (!known) rulesKnown.set(retry, (known = new WeakMap()));
  let rules = known.get(policy);
  if (!rules) known.set(policy, (rules = merged(retry, policy)));
  return rules;
}

const ownRules = new WeakMap<RetryPolicy, RetryRules>();
/** Compiles the policy that a rule has in place of `retry`. It is the rule's own, so that no TrafficPolicy is named for what it does. */
export function rulesOfOwnPolicy(policy: RetryPolicy): RetryRules {
  let rules = ownRules.get(policy);
  if (!rules) ownRules.set(policy, (rules = { ...rulesOfPolicy(policy), isOfPolicy: false }));
  return rules;
}

const noPolicy: RetryRules = {
  ...withoutPolicy,
  attempts: 0,
  codes: [],
  backoff: { baseMs: backoffMsMin, msMax: backoffMsMax, hasFullJitter: false },
};
/** Compiled rules, as long as their route is in use. */
const rulesKnown = new WeakMap<RouteRetry, WeakMap<RetryRules, RetryRules>>();

function merged({ codes, attempts, backoffMs }: RouteRetry, policy: RetryRules): RetryRules {
  // Never 0: it would stay 0 when doubled, and a request would be retried as fast as it fails.
  const baseMs = Math.max(1, backoffMs ?? backoffMsMin);
  const { unsafeMethods, retryAfterMsMax, perTryTimeoutMs, hedges } = policy;
  return {
    ...withoutPolicy,
    attempts: attempts ?? repeatsDefault,
    codes,
    backoff: { baseMs, msMax: Math.max(backoffMsMax, baseMs), hasFullJitter: false },
    unsafeMethods,
    retryAfterMsMax,
    perTryTimeoutMs,
    hedges,
  };
}

/** Whether the request may reach an endpoint twice. */
export const mayRepeat = (method: string, rules: RetryRules | undefined): boolean =>
  idempotent.has(method) || rules?.unsafeMethods.includes(method) === true;

/**
 * The total number of retries of a request after this failed attempt. A rule's `retry` names statuses by its `codes`, and connection errors by
 * its presence (GEP-1731). Without a rule's codes, only methods that may reach an endpoint twice are retried after a response, or an error of
 * a request that may have been executed. A rule that matches a method does not thereby allow retries of it.
 */
export function retryLimitsOf(failed: FailedAttempt, rules: RetryRules | undefined): RetryLimits {
  const { method, execution, failure } = failed;
  const isNamed = rules !== undefined && (failure === undefined || isRetried(failure, rules));
  const anywhere = isNamed ? rules.attempts : 0;
  switch (execution) {
    case 'none': {
      const elsewhere = Math.max(unexecutedRepeatsMax, anywhere);
      if (failure?.kind !== 'overflow') return { elsewhere, anywhere };
      // The limit of one endpoint does not concern the others. Any other limit refuses the retry as well.
      return failure.isOfEndpoint === true ? { elsewhere, anywhere: 0 } : never;
    }
    case 'unlikely':
      return mayRepeat(method, rules)
        ? { elsewhere: Math.max(unexecutedRepeatsMax, anywhere), anywhere }
        : never;
    case 'possible':
      return mayRepeat(method, rules) ? { elsewhere: anywhere, anywhere } : never;
    case 'responded':
      return rules !== undefined && isRetriedStatus(failed, rules)
        ? { elsewhere: anywhere, anywhere }
        : never;
  }
}

function isRetried({ kind }: UpstreamFailure, rules: RetryRules): boolean {
  switch (kind) {
    case 'connect':
      return rules.connectFailure;
    case 'refused':
      return rules.refused;
    case 'overflow':
      return false;
    case 'stale':
    case 'reset':
    case 'protocol':
    case 'timeout':
      return rules.reset;
  }
}

/** Whether the rules retry a response. */
export function isRetriedStatus({ method, status, grpcStatus }: FailedAttempt, rules: RetryRules): boolean {
  if (status === undefined) return false;
  if (rules.codes.includes(status)) return true;
  const isNamed =
    rules.retriesStatus(status) || (grpcStatus !== undefined && rules.grpcStatuses.includes(grpcStatus));
  return isNamed && mayRepeat(method, rules);
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
 * The backoff before retry number `repeat` (from 1): doubled with each retry up to its maximum. By a policy: any time up to that (Envoy: full
 * jitter). By a rule: never below the rule's value (GEP-1731), plus up to 10 % of jitter so that clients do not retry at the same moment. At
 * most 2^31 - 1 ms. `random` in [0, 1).
 */
export function backoffMs({ backoff }: RetryRules, repeat: number, random: number): number {
  const ms = Math.min(backoff.msMax, backoff.baseMs * 2 ** (repeat - 1));
  return Math.min(backoff.hasFullJitter ? ms * random : ms * (1 + random * 0.1), timerMsMax);
}
