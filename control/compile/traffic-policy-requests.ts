/**
 * Compiles the sections of a TrafficPolicy about requests. All default values are filled in here; they are Envoy's unless a comment says
 * otherwise. Errors name the field. Pure.
 */
import { encodeTarget } from '../../src/discovery/codec/backend-target.js';
import { encodeMatch } from '../../src/discovery/codec/route-match.js';
import type {
  AdaptiveConcurrency,
  ClientMatch,
  FaultFilter,
  RateLimitKey,
  RetryPolicy,
  RouteMatch,
  Timeouts,
} from '../../src/discovery/gen/weft.js';
import { unitOf } from '../../src/model/rate-limit.js';
import type { RouteFilter } from '../../src/model/route.js';
import { retryConditionKinds, retryGrpcCodes } from '../../src/model/service-policy.js';
import type { ServiceKey } from '../../src/model/workload.js';
import type {
  ClientRef,
  FaultSpec,
  LoadSheddingSpec,
  RateLimitSpec,
  RequestMatchSpec,
  RetrySpec,
  TimeoutsSpec,
} from '../objects/objects.js';
import { MatchReader } from '../dialects/gateway/route-matches.js';
import { durationMs, partsPerMillion, positiveMs, quantityBytes, timeMs } from './traffic-policy-values.js';

/** What sections need of their policy. */
export interface PolicyContext {
  readonly namespace: string;
  /** The name of the policy in logs and metrics: `TrafficPolicy NAMESPACE/NAME`. */
  readonly origin: string;
  readonly dryRun: boolean;
  /** Total weight of the section's regular expressions so far. */
  readonly regexBudget: { weight: number };
}

/** Compiles matches of a section. Errors name the field. */
export function requestMatches(
  specs: readonly RequestMatchSpec[] | undefined,
  at: string,
  context: PolicyContext,
): RouteMatch[] {
  const reader = new MatchReader(at, context.regexBudget);
  const read = (specs ?? []).map((spec, index) => encodeMatch(reader.http(spec, index)));
  const [problem] = reader.problems;
  if (problem !== undefined) throw new Error(problem);
  return read;
}

export const clientMatch = ({ namespace, serviceAccount = '' }: ClientRef, own: string): ClientMatch => ({
  namespace: namespace ?? own,
  serviceAccount,
});

/** Names the clients of a match, in keys and orders. */
export const clientKey = ({ namespace, serviceAccount }: ClientMatch): string =>
  `${namespace}/${serviceAccount}`;

/** Undefined if the section has only a budget. */
export function retry(spec: RetrySpec, at: string, dryRun: boolean): RetryPolicy | undefined {
  const { conditions, statusCodes, backoff, hedge = false, perTryTimeout } = spec;
  const listed = conditions?.includes('retriable-status-codes') ?? false;
  if (listed !== (statusCodes !== undefined))
    throw new Error(`${at}: retriable-status-codes and statusCodes need each other`);
  if (hedge && perTryTimeout === undefined) throw new Error(`${at}: hedge needs perTryTimeout`);
  if (!conditions) {
    const { budget: _, dryRun: __, ...others } = spec;
    if (!spec.budget) throw new Error(`${at}: give conditions, budget or both`);
    if (Object.keys(others).length > 0) throw new Error(`${at}: without conditions there is only a budget`);
    return undefined;
  }
  const backoffBaseMs = positiveMs(`${at}.backoff.base`, backoff?.base, 25);
  const backoffMsMax = positiveMs(`${at}.backoff.max`, backoff?.max, 10 * backoffBaseMs);
  if (backoffMsMax < backoffBaseMs) throw new Error(`${at}.backoff: max is less than base`);
  return {
    conditionKind: retryConditionKinds.filter((kind) => conditions.includes(kind)),
    codes: [...(statusCodes ?? [])],
    grpcCodes: conditions.flatMap((condition) => retryGrpcCodes[condition] ?? []),
    // As for the retry of an HTTPRoute. Envoy: 1.
    attempts: spec.attempts ?? 2,
    perTryTimeoutMs: positiveMs(`${at}.perTryTimeout`, perTryTimeout, 0),
    backoffBaseMs,
    backoffMsMax,
    retryAfterMsMax: positiveMs(`${at}.retryAfterMax`, spec.retryAfterMax, 0),
    unsafeMethods: [...(spec.unsafeMethods ?? [])],
    hedge,
    dryRun,
  };
}

/** The timeouts that are one setting. The idle timeout of streams is a setting of its own, which annotations set as well. */
export function timeouts(spec: TimeoutsSpec, at: string, dryRun: boolean): Timeouts {
  const of = (field: Exclude<keyof TimeoutsSpec, 'streamIdle' | 'dryRun'>, name: keyof Timeouts) => {
    const text = spec[field];
    return text === undefined ? {} : { [name]: durationMs(`${at}.${field}`, text) };
  };
  return {
    ...of('request', 'requestMs'),
    ...of('connect', 'connectMs'),
    ...of('connectionIdle', 'connectionIdleMs'),
    ...of('maxDuration', 'streamMsMax'),
    ...of('tcpIdle', 'tcpIdleMs'),
    dryRun,
  };
}

function rateLimitKey(key: NonNullable<RateLimitSpec['keys']>[number], at: string): RateLimitKey {
  const { header, cookie, query } = key;
  if (header !== undefined) return { kind: 'header', name: header.toLowerCase() };
  if (cookie !== undefined) return { kind: 'cookie', name: cookie };
  if (query !== undefined) return { kind: 'query', name: query };
  const kinds = {
    clientIdentity: 'client-identity',
    clientNamespace: 'client-namespace',
    clientAddress: 'client-address',
    path: 'path',
    method: 'method',
    route: 'route',
  } as const;
  for (const [field, kind] of Object.entries(kinds))
    if (key[field as keyof typeof kinds]) return { kind, name: '' };
  throw new Error(`${at}: names no part of a request`);
}

export function rateLimit(spec: RateLimitSpec, at: string, context: PolicyContext): RouteFilter {
  const { requests, global } = spec;
  const limit = {
    name: `${context.origin} ${spec.name}`,
    matches: requestMatches(spec.matches, at, context),
    keys: (spec.keys ?? []).map((key, index) => rateLimitKey(key, `${at}.keys[${index}]`)),
    requests,
    perMs: positiveMs(`${at}.per`, spec.per, 0),
    dryRun: context.dryRun || spec.dryRun === true,
  };
  if (!global) return { $case: 'localRateLimit', value: { ...limit, burst: spec.burst ?? requests } };
  if (unitOf(limit.perMs) === undefined)
    throw new Error(`${at}.per: a global limit is per 1s, 1m, 1h or 24h`);
  if (spec.burst !== undefined) throw new Error(`${at}.burst: a global limit has no burst`);
  const { service } = global;
  const namespace = service?.namespace ?? context.namespace;
  return {
    $case: 'globalRateLimit',
    value: {
      ...limit,
      failClosed: global.failClosed ?? false,
      timeoutMs: positiveMs(`${at}.global.timeout`, global.timeout, 20),
      service: service && {
        target: encodeTarget({
          kind: 'service',
          service: `${namespace}/${service.name}.${namespace}.svc.cluster.local` as ServiceKey,
          port: service.port,
        }),
        domain: service.domain ?? context.namespace,
      },
    },
  };
}

function abortOf({ abort }: FaultSpec, at: string): FaultFilter['abort'] {
  if (!abort) return undefined;
  const { httpStatus, grpcStatus, reset } = abort;
  if ([httpStatus, grpcStatus, reset].filter((one) => one !== undefined).length !== 1)
    throw new Error(`${at}.abort: give one of httpStatus, grpcStatus and reset`);
  if (httpStatus !== undefined) return { $case: 'httpStatus', value: httpStatus };
  if (grpcStatus !== undefined) return { $case: 'grpcStatus', value: grpcStatus };
  return { $case: 'reset', value: true };
}

export function fault(spec: FaultSpec, at: string, context: PolicyContext): RouteFilter {
  const { name, matches, delay, abort, until, activeMax } = spec;
  if (!delay && !abort) throw new Error(`${at}: give delay, abort or both`);
  return {
    $case: 'fault',
    value: {
      name: `${context.origin} ${name}`,
      matches: requestMatches(matches, at, context),
      delayMs: delay ? positiveMs(`${at}.delay.duration`, delay.duration, 0) : 0,
      delayPpm: delay ? partsPerMillion(`${at}.delay.percent`, delay.percent) : 0,
      abort: abortOf(spec, at),
      abortPpm: abort ? partsPerMillion(`${at}.abort.percent`, abort.percent) : 0,
      untilMs: until === undefined ? 0 : timeMs(`${at}.until`, until),
      // Envoy has no limit by default. Delayed requests hold memory, so there is one here.
      activeMax: activeMax ?? 100,
      dryRun: context.dryRun || spec.dryRun === true,
    },
  };
}

const adaptiveConcurrency = (
  spec: NonNullable<LoadSheddingSpec['adaptiveConcurrency']>,
  at: string,
): AdaptiveConcurrency => ({
  samplePercentile: spec.samplePercentile ?? 50,
  // Envoy has no default for the two intervals. These are those of the example in its documentation.
  updateIntervalMs: positiveMs(`${at}.updateInterval`, spec.updateInterval, 100),
  minRttIntervalMs: positiveMs(`${at}.minRttInterval`, spec.minRttInterval, 60_000),
  minRttRequests: spec.minRttRequests ?? 50,
  minConcurrency: spec.minConcurrency ?? 3,
  concurrencyMax: spec.concurrencyMax ?? 1000,
  bufferPercent: spec.bufferPercent ?? 25,
  jitterPercent: spec.jitterPercent ?? 15,
});

export function loadShedding(spec: LoadSheddingSpec, at: string, context: PolicyContext): RouteFilter {
  const { eventLoopDelayMax, memoryMax, priority = [] } = spec;
  if (!spec.adaptiveConcurrency && eventLoopDelayMax === undefined && memoryMax === undefined)
    throw new Error(`${at}: give adaptiveConcurrency, eventLoopDelayMax or memoryMax`);
  // An empty list of matches would match every request: then nothing is refused, as the author wrote.
  const matches = priority.flatMap((one, index) => {
    if (!one.matches) return [];
    const read = requestMatches(one.matches, `${at}.priority[${index}]`, context);
    return read.length > 0 ? read : requestMatches([{}], `${at}.priority[${index}]`, context);
  });
  return {
    $case: 'loadShedding',
    value: {
      name: context.origin,
      adaptiveConcurrency:
        spec.adaptiveConcurrency &&
        adaptiveConcurrency(spec.adaptiveConcurrency, `${at}.adaptiveConcurrency`),
      eventLoopDelayMsMax: positiveMs(`${at}.eventLoopDelayMax`, eventLoopDelayMax, 0),
      memoryBytesMax: memoryMax === undefined ? 0 : quantityBytes(`${at}.memoryMax`, memoryMax),
      priorityMatches: matches,
      priorityClients: priority.flatMap(({ from }) =>
        (from ?? []).map((client) => clientMatch(client, context.namespace)),
      ),
      dryRun: context.dryRun || spec.dryRun === true,
    },
  };
}
