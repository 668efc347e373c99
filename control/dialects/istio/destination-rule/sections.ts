/**
 * Translates a trafficPolicy of a DestinationRule to settings of a Service port. The defaults are Istio's. Errors name the field. Pure: what
 * is closed for a field that Weft does not have is decided in port-settings.ts.
 */
import type {
  HashKey,
  LoadBalancing,
  LocalityPolicy,
  OutlierDetection,
} from '../../../../src/discovery/gen/weft.js';
import { isPrime } from '../../../compile/traffic-policy-cluster.js';
import type { TrafficSettings } from '../../../compile/traffic-policy.js';
import type {
  IstioConnectionPool,
  IstioConsistentHash,
  IstioLoadBalancer,
  IstioOutlierDetection,
  IstioTrafficPolicy,
} from '../../../objects/istio-destination-rule.js';
import { istioMs, optionalMs } from '../duration.js';
import { isRecord } from '../../../../src/base/record.js';

const intMax = 2 ** 31 - 1;

/** A count. Undefined if absent or 0: protobuf has no other way to say that a number is absent. A negative one counts as absent, as in Istio. */
function count(at: string, value: unknown): number | undefined {
  const given = whole(at, value);
  return given === undefined || given <= 0 ? undefined : given;
}
/** A count that may be 0. */
function whole(at: string, value: unknown, max = intMax): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !Number.isInteger(value))
    throw new Error(`${at}: expected a whole number`);
  return Math.min(value, max);
}
const aboveZeroMs = (at: string, text: unknown): number => {
  const ms = istioMs(at, text);
  if (ms === 0) throw new Error(`${at}: must be above 0`);
  return ms;
};
/** A member of a closed form may have any content. */
function object<T extends object>(at: string, value: T | undefined): Partial<T> {
  if (value === undefined) return {};
  if (!isRecord(value)) throw new Error(`${at}: expected an object`);
  return value;
}

/** The settings without those that are undefined: an absent one leaves the value of a less specific object. */
export const present = (settings: TrafficSettings): TrafficSettings =>
  Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));

export function connectionPool(spec: IstioConnectionPool, at: string): TrafficSettings {
  const { tcp: givenTcp, http: givenHttp } = object(at, spec);
  const tcp = object(`${at}.tcp`, givenTcp);
  const http = object(`${at}.http`, givenHttp);
  const ms = (field: string, text: string | undefined): number | undefined =>
    optionalMs(`${at}.${field}`, text);
  const connectMs = ms('tcp.connectTimeout', tcp.connectTimeout);
  const tcpIdleMs = ms('tcp.idleTimeout', tcp.idleTimeout);
  const connectionIdleMs = ms('http.idleTimeout', http.idleTimeout) ?? tcpIdleMs;
  const timeouts = { connectMs, connectionIdleMs, tcpIdleMs };
  const hasTimeouts = Object.values(timeouts).some((value) => value !== undefined);
  const retries = count(`${at}.http.maxRetries`, http.maxRetries);
  const { h2UpgradePolicy, useClientProtocol } = http;
  return present({
    connectionsMax: count(`${at}.tcp.maxConnections`, tcp.maxConnections),
    pendingRequestsMax: count(`${at}.http.http1MaxPendingRequests`, http.http1MaxPendingRequests),
    requestsMax: count(`${at}.http.http2MaxRequests`, http.http2MaxRequests),
    requestsPerConnectionMax: count(`${at}.http.maxRequestsPerConnection`, http.maxRequestsPerConnection),
    // A budget of no share, which always allows so many.
    ...(retries === undefined ? {} : { retryBudgetPercent: 0, retryBudgetMin: retries }),
    timeouts: hasTimeouts
      ? { ...timeouts, requestMs: undefined, streamMsMax: undefined, dryRun: false }
      : undefined,
    upstreamProtocol:
      useClientProtocol === true ? 'client' : h2UpgradePolicy === 'UPGRADE' ? 'http2' : undefined,
  });
}

export function retryBudget(
  spec: NonNullable<IstioTrafficPolicy['retryBudget']>,
  at: string,
): TrafficSettings {
  const { percent, minRetryConcurrency } = object(at, spec);
  if (percent !== undefined && percent !== null && !(percent >= 0 && percent <= 100))
    throw new Error(`${at}.percent: expected a number from 0 to 100`);
  return {
    // Never more than is allowed.
    retryBudgetPercent: Math.floor(percent ?? 20),
    retryBudgetMin: whole(`${at}.minRetryConcurrency`, minRetryConcurrency, 1_000_000) ?? 3,
  };
}

const ringSizeMax = 8_388_608;

function hashKey(spec: Partial<IstioConsistentHash>, at: string): HashKey {
  const { httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName } = spec;
  const plain = (kind: string, name = ''): HashKey => ({ kind, name, cookieTtlMs: 0, cookiePath: '' });
  if (httpHeaderName !== undefined) return plain('header', String(httpHeaderName).toLowerCase());
  if (httpCookie !== undefined) {
    const { name, path = '/', ttl } = object(`${at}.httpCookie`, httpCookie);
    const cookieTtlMs = ttl === undefined ? 0 : istioMs(`${at}.httpCookie.ttl`, ttl);
    return {
      kind: 'cookie',
      name: String(name),
      cookieTtlMs,
      cookiePath: cookieTtlMs === 0 ? '' : path === '' ? '/' : path,
    };
  }
  if (useSourceIp === true) return plain('client-address');
  if (httpQueryParameterName !== undefined) return plain('query', String(httpQueryParameterName));
  throw new Error(`${at}: give one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName`);
}

function consistentHash(given: IstioConsistentHash, at: string): NonNullable<LoadBalancing['kind']> {
  const spec = object(at, given);
  const keys = [hashKey(spec, at)];
  if (spec.maglev) {
    const tableSize = count(`${at}.maglev.tableSize`, spec.maglev.tableSize) ?? 65_537;
    // As Envoy's limit.
    if (!isPrime(tableSize) || tableSize > 5_000_011)
      throw new Error(`${at}.maglev.tableSize: ${tableSize} is not a prime number up to 5000011`);
    return { $case: 'maglev', value: { keys, tableSize } };
  }
  const [field, size] = spec.ringHash
    ? ['ringHash.minimumRingSize', spec.ringHash.minimumRingSize]
    : ['minimumRingSize', spec.minimumRingSize];
  const ringSizeMin = count(`${at}.${field}`, size) ?? 1024;
  if (ringSizeMin > ringSizeMax) throw new Error(`${at}.${field}: ${ringSizeMin} is above ${ringSizeMax}`);
  return { $case: 'ringHash', value: { keys, ringSizeMin, ringSizeMax } };
}

export function loadBalancer(given: IstioLoadBalancer, at: string): LoadBalancing | undefined {
  const spec = object(at, given);
  const { simple = 'UNSPECIFIED', warmup, warmupDurationSecs } = spec;
  if (spec.consistentHash !== undefined)
    return { kind: consistentHash(spec.consistentHash, `${at}.consistentHash`), slowStart: undefined };
  const isRoundRobin = simple === 'ROUND_ROBIN';
  if (simple === 'RANDOM') return { kind: { $case: 'random', value: {} }, slowStart: undefined };
  const isSet = spec.simple !== undefined || warmup !== undefined || warmupDurationSecs !== undefined;
  // A locality setting alone leaves the balancer of less specific objects.
  if (!isSet) return undefined;
  const slow = warmup ?? (warmupDurationSecs === undefined ? undefined : { duration: warmupDurationSecs });
  const where = warmup ? `${at}.warmup` : `${at}.warmupDurationSecs`;
  const { minimumPercent, aggression } = warmup ?? {};
  return {
    kind: isRoundRobin
      ? { $case: 'roundRobin', value: {} }
      : { $case: 'leastRequest', value: { choices: 2 } },
    slowStart: slow && {
      windowMs: aboveZeroMs(warmup ? `${where}.duration` : where, slow.duration),
      // Envoy raises the time to 1 / aggression.
      aggression: Math.min(Math.max(1, Math.round((aggression || 1) * 1000)), 999_999),
      minWeightPercent: Math.min(100, Math.max(0, Math.round(minimumPercent ?? 10))),
    },
  };
}

export function outlierDetection(given: IstioOutlierDetection, at: string): OutlierDetection {
  const spec = object(at, given);
  const { splitExternalLocalOriginErrors: split } = spec;
  const ms = (field: 'interval' | 'baseEjectionTime', byDefault: number): number =>
    spec[field] === undefined ? byDefault : aboveZeroMs(`${at}.${field}`, spec[field]);
  const baseEjectionMs = ms('baseEjectionTime', 30_000);
  const failurePercent = whole(`${at}.failurePercentageThreshold`, spec.failurePercentageThreshold, 100) ?? 0;
  return {
    consecutive5xx:
      whole(`${at}.consecutive5xxErrors`, spec.consecutive5xxErrors) ??
      count(`${at}.consecutiveErrors`, spec.consecutiveErrors) ??
      5,
    consecutiveGatewayErrors: whole(`${at}.consecutiveGatewayErrors`, spec.consecutiveGatewayErrors) ?? 0,
    // Without the split, failures of connections count as 503 and 504 alone.
    consecutiveLocalFailures:
      split === true
        ? (count(`${at}.consecutiveLocalOriginFailures`, spec.consecutiveLocalOriginFailures) ?? 5)
        : 0,
    splitsLocalErrors: split === true,
    intervalMs: ms('interval', 10_000),
    baseEjectionMs,
    ejectionMsMax: Math.max(300_000, baseEjectionMs),
    ejectionJitterMs: 0,
    ejectedPercentMax: Math.min(100, count(`${at}.maxEjectionPercent`, spec.maxEjectionPercent) ?? 10),
    // As older versions of Envoy. Otherwise 10 percent of fewer than 10 endpoints would be none, and a rule without a percentage does nothing.
    alwaysEjectOne: true,
    successRateHostsMin: 0,
    successRateRequestsMin: 0,
    successRateStdevFactor: 0,
    failurePercent,
    failurePercentHostsMin: failurePercent > 0 ? 5 : 0,
    failurePercentRequestsMin: failurePercent > 0 ? 50 : 0,
    dryRun: false,
  };
}

/** Scopes by the labels of failoverPriority. */
const scopeLabels: Readonly<Record<string, 'region' | 'zone' | 'node'>> = {
  'topology.kubernetes.io/region': 'region',
  'topology.kubernetes.io/zone': 'zone',
  'kubernetes.io/hostname': 'node',
};
export const isScopeLabel = (label: string): boolean => Object.hasOwn(scopeLabels, label);

/** What a Service itself says about near endpoints. */
export type OwnPreference = 'none' | 'preferred' | 'strict';

/**
 * When requests go to other places than the nearest. Without outlier detection Istio prefers none, because nothing would ever fail over.
 * @param own what the Service says: only `none` leaves room for Istio's default, and `strict` for nothing
 */
export function locality(
  balancer: IstioLoadBalancer | undefined,
  outliers: IstioOutlierDetection,
  at: string,
  own: OwnPreference,
): LocalityPolicy {
  const setting = object(`${at}.loadBalancer.localityLbSetting`, balancer?.localityLbSetting);
  const labels = setting.failoverPriority ?? [];
  const named = ['region', 'zone', 'node'].filter((scope) =>
    labels.some((label) => isScopeLabel(label) && scopeLabels[label] === scope),
  );
  const wanted = labels.length > 0 ? named : ['region', 'zone'];
  const isOff =
    setting.enabled === false || own === 'strict' || (own === 'preferred' && !balancer?.localityLbSetting);
  const healthy = count(`${at}.outlierDetection.minHealthPercent`, outliers.minHealthPercent);
  const ejected = count(`${at}.outlierDetection.maxEjectionPercent`, outliers.maxEjectionPercent) ?? 10;
  return {
    preference: isOff ? [] : wanted,
    overprovisioningPercent: 140,
    // Where not all may be ejected, the last one is used although it fails: 1 percent is reached by none alone.
    panicPercent: Math.min(100, healthy ?? (ejected < 100 ? 1 : 0)),
    minEndpoints: 0,
  };
}
