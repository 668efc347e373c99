/** The limits of a circuit breaker, from the settings of a Service's port. Pure. */
import { originOf, type ServicePolicy, type SettingName } from '../../../model/service-policy.js';
import type { TrafficAction } from '../../telemetry/request-record.js';

/** One limit. */
export interface Limit {
  /** Infinity: none. */
  readonly max: number;
  /** The limit is counted and not enforced. */
  readonly isDryRun: boolean;
  /** What the access log and metrics say when it is reached; undefined: no policy has set it. */
  readonly action: TrafficAction | undefined;
  readonly why: string;
}

/** Indexed by count (shared-counters.ts): connections, pending requests, requests. */
export type LimitSet = readonly [connections: Limit, pending: Limit, requests: Limit];

export interface BreakerLimits {
  readonly all: LimitSet;
  /** Of each client identity; undefined: none. */
  readonly ofClient: LimitSet | undefined;
  readonly requestsPerConnectionMax: number;
  /** How long a request waits for a connection; undefined: the waypoint's own time. */
  readonly pendingTimeoutMs: number | undefined;
  /** What the access log and metrics say when a request has waited for so long. */
  readonly pendingTimeoutAction: TrafficAction | undefined;
  /** Clients have fair shares of the pending requests, because no policy says how many they may be. */
  readonly hasFairShares: boolean;
}

/** Requests that may wait for a connection, where nothing else is set. */
export const pendingRequestsDefault = 20_000;

const names: Partial<Record<SettingName, string>> = {
  connectionsMax: 'connections to this Service',
  pendingRequestsMax: 'requests to this Service that wait for a connection',
  requestsMax: 'requests to this Service',
  clientConnectionsMax: "this client's connections to this Service",
  clientPendingRequestsMax: "this client's requests to this Service that wait for a connection",
  clientRequestsMax: "this client's requests to this Service",
};

const limitOf = (name: SettingName, max: number, object: string | undefined, isDryRun: boolean): Limit => ({
  max,
  isDryRun,
  action:
    object === undefined
      ? undefined
      : { feature: 'circuit-breaker', mode: isDryRun ? 'would' : 'did', policy: object },
  why: `limit of ${names[name] ?? name} reached (${max})`,
});

/** The objects that say how many requests may wait, whoever sends them. An annotation is a bound of memory alone. */
const policies = ['TrafficPolicy ', 'DestinationRule '] as const;

export function breakerLimitsOf(settings: Partial<ServicePolicy> = {}): BreakerLimits {
  const dryRunBy =
    settings.circuitBreakerDryRun === true ? originOf(settings, 'circuitBreakerDryRun') : undefined;
  const limit = (name: SettingName, without = Infinity): Limit => {
    const max = settings[name];
    const object = originOf(settings, name);
    // Another object's limit stays in force beside a policy in dry run.
    const isDryRun =
      settings.circuitBreakerDryRun === true &&
      max !== undefined &&
      (dryRunBy === undefined || object === dryRunBy);
    return limitOf(name, typeof max === 'number' ? max : without, object, isDryRun);
  };
  const ofClient: LimitSet = [
    limit('clientConnectionsMax'),
    limit('clientPendingRequestsMax'),
    limit('clientRequestsMax'),
  ];
  const pendingBy = originOf(settings, 'pendingRequestsMax');
  // What bounds a time, or closes a connection, does nothing in dry run, and is not counted.
  const timeout = limit('pendingTimeoutMs');
  const perConnection = limit('requestsPerConnectionMax');
  return {
    all: [limit('connectionsMax'), limit('pendingRequestsMax', pendingRequestsDefault), limit('requestsMax')],
    ofClient: ofClient.some(({ max }) => max !== Infinity) ? ofClient : undefined,
    requestsPerConnectionMax: perConnection.isDryRun ? Infinity : perConnection.max || Infinity,
    pendingTimeoutMs: timeout.isDryRun || timeout.max === Infinity ? undefined : timeout.max,
    pendingTimeoutAction: timeout.action,
    hasFairShares: !policies.some((kind) => pendingBy?.startsWith(kind)),
  };
}

export const noLimits: BreakerLimits = breakerLimitsOf();
