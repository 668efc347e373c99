/**
 * Compiles the sections of a TrafficPolicy about endpoints and connections. All default values are filled in here; they are Envoy's unless
 * a comment says otherwise. Errors name the field. Pure.
 */
import type {
  HashKey,
  HealthCheck,
  LoadBalancing,
  LocalityPolicy,
  OutlierDetection,
} from '../../src/discovery/gen/weft.js';
import type { ServiceSettings } from '../../src/model/service-policy.js';
import type {
  CircuitBreakerSpec,
  HealthCheckSpec,
  LoadBalancingSpec,
  LocalitySpec,
  OutlierDetectionSpec,
} from '../objects/objects.js';
import { durationMs, positiveMs, thousandths } from './traffic-policy-values.js';

type HashOn = NonNullable<LoadBalancingSpec['hashOn']>[number];

function hashKey(at: string, { header, cookie, query, clientIdentity, clientAddress }: HashOn): HashKey {
  const plain = (kind: string, name = ''): HashKey => ({ kind, name, cookieTtlMs: 0, cookiePath: '' });
  if (header !== undefined) return plain('header', header.toLowerCase());
  if (query !== undefined) return plain('query', query);
  if (clientIdentity) return plain('client-identity');
  if (clientAddress) return plain('client-address');
  if (!cookie) throw new Error(`${at}: give one of header, cookie, query, clientIdentity and clientAddress`);
  const { name, ttl, path = '/' } = cookie;
  const cookieTtlMs = ttl === undefined ? 0 : durationMs(`${at}.cookie.ttl`, ttl);
  return { kind: 'cookie', name, cookieTtlMs, cookiePath: cookieTtlMs === 0 ? '' : path };
}

export const isPrime = (n: number): boolean => {
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false;
  return n > 1;
};

export function loadBalancing(spec: LoadBalancingSpec, at: string): LoadBalancing {
  const { type = 'LeastRequest', choices, hashOn, ringHash, maglev, peakEwma, slowStart } = spec;
  const only = (field: keyof LoadBalancingSpec, ...types: readonly string[]): void => {
    if (spec[field] !== undefined && !types.includes(type))
      throw new Error(`${at}.${field}: needs the type ${types.join(' or ')}`);
  };
  only('choices', 'LeastRequest');
  only('hashOn', 'RingHash', 'Maglev');
  only('ringHash', 'RingHash');
  only('maglev', 'Maglev');
  only('peakEwma', 'PeakEwma');
  only('slowStart', 'RoundRobin', 'LeastRequest');
  if ((type === 'RingHash' || type === 'Maglev') && !hashOn) throw new Error(`${at}: ${type} needs hashOn`);
  const keys = (hashOn ?? []).map((one, index) => hashKey(`${at}.hashOn[${index}]`, one));
  const kind = ((): NonNullable<LoadBalancing['kind']> => {
    switch (type) {
      case 'RoundRobin':
        return { $case: 'roundRobin', value: {} };
      case 'LeastRequest':
        return { $case: 'leastRequest', value: { choices: choices ?? 2 } };
      case 'Random':
        return { $case: 'random', value: {} };
      case 'RingHash': {
        const { sizeMin = 1024, sizeMax = 8_388_608 } = ringHash ?? {};
        if (sizeMin > sizeMax) throw new Error(`${at}.ringHash: sizeMin is greater than sizeMax`);
        return { $case: 'ringHash', value: { keys, ringSizeMin: sizeMin, ringSizeMax: sizeMax } };
      }
      case 'Maglev': {
        const { tableSize = 65_537 } = maglev ?? {};
        if (!isPrime(tableSize))
          throw new Error(`${at}.maglev.tableSize: ${tableSize} is not a prime number`);
        return { $case: 'maglev', value: { keys, tableSize } };
      }
      case 'PeakEwma':
        // Linkerd's default.
        return {
          $case: 'peakEwma',
          value: { decayMs: positiveMs(`${at}.peakEwma.decay`, peakEwma?.decay, 10_000) },
        };
    }
  })();
  return {
    kind,
    slowStart: slowStart && {
      windowMs: positiveMs(`${at}.slowStart.window`, slowStart.window, 0),
      aggression: thousandths(`${at}.slowStart.aggression`, slowStart.aggression ?? '1.0'),
      minWeightPercent: slowStart.minWeightPercent ?? 10,
    },
  };
}

const scopes: readonly string[] = ['Region', 'Zone', 'Node'];

export function locality(spec: LocalitySpec, at: string): LocalityPolicy {
  const { preference = [], overprovisioningPercent = 140, panicPercent = 50, minEndpoints = 0 } = spec;
  const ordered = scopes.filter((scope) => (preference as readonly string[]).includes(scope));
  if (ordered.join() !== preference.join())
    throw new Error(`${at}.preference: scopes must be in the order ${scopes.join(', ')}, each at most once`);
  return {
    preference: preference.map((scope) => scope.toLowerCase()),
    overprovisioningPercent,
    panicPercent,
    minEndpoints,
  };
}

/** The limits of a circuit breaker. A field that is absent leaves the limit of a less specific object: there is no default. */
export function circuitBreaker(spec: CircuitBreakerSpec, at: string): ServiceSettings {
  const { connectionsMax, pendingRequestsMax, pendingTimeout, requestsMax, requestsPerConnectionMax } = spec;
  const { perClient } = spec;
  const limits: ServiceSettings = {
    connectionsMax,
    pendingRequestsMax,
    pendingTimeoutMs:
      pendingTimeout === undefined ? undefined : positiveMs(`${at}.pendingTimeout`, pendingTimeout, 0),
    requestsMax,
    // 0 is no limit, as in Envoy, and takes the place of a less specific limit.
    requestsPerConnectionMax,
    clientConnectionsMax: perClient?.connectionsMax,
    clientPendingRequestsMax: perClient?.pendingRequestsMax,
    clientRequestsMax: perClient?.requestsMax,
  };
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
}

export function outlierDetection(spec: OutlierDetectionSpec, at: string, dryRun: boolean): OutlierDetection {
  const { successRate, failurePercentage } = spec;
  const baseEjectionMs = positiveMs(`${at}.baseEjectionTime`, spec.baseEjectionTime, 30_000);
  return {
    consecutive5xx: spec.consecutive5xx ?? 5,
    // Envoy counts them and, by default, does not eject for them (enforcing_consecutive_gateway_failure is 0).
    consecutiveGatewayErrors: spec.consecutiveGatewayErrors ?? 0,
    consecutiveLocalFailures: spec.consecutiveLocalFailures ?? 5,
    splitsLocalErrors: false,
    intervalMs: positiveMs(`${at}.interval`, spec.interval, 10_000),
    baseEjectionMs,
    ejectionMsMax: positiveMs(
      `${at}.maxEjectionTime`,
      spec.maxEjectionTime,
      Math.max(300_000, baseEjectionMs),
    ),
    ejectionJitterMs: durationMs(`${at}.ejectionJitter`, spec.ejectionJitter ?? '0s'),
    ejectedPercentMax: spec.ejectedPercentMax ?? 10,
    // Not Envoy's default since 1.27: without it, 10 percent of fewer than 10 endpoints would be none.
    alwaysEjectOne: spec.alwaysEjectOne ?? true,
    successRateHostsMin: successRate ? (successRate.minHosts ?? 5) : 0,
    successRateRequestsMin: successRate ? (successRate.minRequests ?? 100) : 0,
    successRateStdevFactor: successRate
      ? thousandths(`${at}.successRate.stdevFactor`, successRate.stdevFactor ?? '1.9')
      : 0,
    failurePercent: failurePercentage ? (failurePercentage.threshold ?? 85) : 0,
    failurePercentHostsMin: failurePercentage ? (failurePercentage.minHosts ?? 5) : 0,
    failurePercentRequestsMin: failurePercentage ? (failurePercentage.minRequests ?? 50) : 0,
    dryRun,
  };
}

function checkKind({ http, grpc, tcp }: HealthCheckSpec, at: string): NonNullable<HealthCheck['kind']> {
  if ([http, grpc, tcp].filter((one) => one !== undefined).length !== 1)
    throw new Error(`${at}: give one of http, grpc and tcp`);
  if (http) {
    const { path, host = '', method = 'GET', statuses = [], headers = [] } = http;
    const ranges = statuses.map((text, index) => {
      const [first = 0, last = first] = text.split('-').map(Number);
      if (first > last) throw new Error(`${at}.http.statuses[${index}]: ${text} ends before it begins`);
      return { first, last };
    });
    const sent = headers.map(({ name, value }) => ({ name: name.toLowerCase(), value }));
    return { $case: 'http', value: { path, host, method, statuses: ranges, headers: sent } };
  }
  if (grpc) return { $case: 'grpc', value: { service: grpc.service ?? '' } };
  const { send = '', receive = [] } = tcp ?? {};
  return {
    $case: 'tcp',
    value: { send: Buffer.from(send), receive: receive.map((text) => Buffer.from(text)) },
  };
}

/** Envoy has no default values for health checks. These are ours. */
export const healthCheck = (spec: HealthCheckSpec, at: string, dryRun: boolean): HealthCheck => ({
  kind: checkKind(spec, at),
  port: spec.port ?? 0,
  intervalMs: positiveMs(`${at}.interval`, spec.interval, 10_000),
  timeoutMs: positiveMs(`${at}.timeout`, spec.timeout, 1_000),
  jitterPercent: spec.jitterPercent ?? 10,
  healthyThreshold: spec.healthyThreshold ?? 2,
  unhealthyThreshold: spec.unhealthyThreshold ?? 3,
  dryRun,
});
