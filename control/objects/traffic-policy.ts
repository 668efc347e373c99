/** TrafficPolicies, with the fields of their CRD (daemonset/chart/crds/trafficpolicies.yaml). Durations and percentages are text. */
import type { Condition, Meta } from './metadata.js';
import type { HttpRouteMatch, ParentRef } from './routes.js';

export interface TargetRef {
  readonly group: string;
  readonly kind: string;
  readonly name: string;
  /** The name or number of a Service's port. */
  readonly sectionName?: string;
}
export interface ClientRef {
  readonly namespace?: string;
  readonly serviceAccount?: string;
}
/** A choice without settings. */
type Chosen = Readonly<Record<string, never>>;

export interface LoadBalancingSpec {
  readonly type?: 'RoundRobin' | 'LeastRequest' | 'Random' | 'RingHash' | 'Maglev' | 'PeakEwma';
  readonly choices?: number;
  readonly hashOn?: readonly {
    readonly header?: string;
    readonly cookie?: { readonly name: string; readonly ttl?: string; readonly path?: string };
    readonly query?: string;
    readonly clientIdentity?: Chosen;
    readonly clientAddress?: Chosen;
  }[];
  readonly ringHash?: { readonly sizeMin?: number; readonly sizeMax?: number };
  readonly maglev?: { readonly tableSize?: number };
  readonly peakEwma?: { readonly decay?: string };
  readonly slowStart?: {
    readonly window: string;
    readonly aggression?: string;
    readonly minWeightPercent?: number;
  };
}
export interface LocalitySpec {
  readonly preference?: readonly ('Region' | 'Zone' | 'Node')[];
  readonly overprovisioningPercent?: number;
  readonly panicPercent?: number;
  readonly minEndpoints?: number;
}
export interface CircuitBreakerSpec {
  readonly connectionsMax?: number;
  readonly pendingRequestsMax?: number;
  readonly pendingTimeout?: string;
  readonly requestsMax?: number;
  readonly requestsPerConnectionMax?: number;
  readonly perClient?: {
    readonly connectionsMax?: number;
    readonly pendingRequestsMax?: number;
    readonly requestsMax?: number;
  };
  readonly dryRun?: boolean;
}
export interface OutlierDetectionSpec {
  readonly consecutive5xx?: number;
  readonly consecutiveGatewayErrors?: number;
  readonly consecutiveLocalFailures?: number;
  readonly interval?: string;
  readonly baseEjectionTime?: string;
  readonly maxEjectionTime?: string;
  readonly ejectionJitter?: string;
  readonly ejectedPercentMax?: number;
  readonly alwaysEjectOne?: boolean;
  readonly successRate?: {
    readonly minHosts?: number;
    readonly minRequests?: number;
    readonly stdevFactor?: string;
  };
  readonly failurePercentage?: {
    readonly threshold?: number;
    readonly minHosts?: number;
    readonly minRequests?: number;
  };
  readonly dryRun?: boolean;
}
export interface HealthCheckSpec {
  readonly http?: {
    readonly path: string;
    readonly host?: string;
    readonly method?: string;
    readonly statuses?: readonly string[];
    readonly headers?: readonly { readonly name: string; readonly value: string }[];
  };
  readonly grpc?: { readonly service?: string };
  readonly tcp?: { readonly send?: string; readonly receive?: readonly string[] };
  readonly port?: number;
  readonly interval?: string;
  readonly timeout?: string;
  readonly jitterPercent?: number;
  readonly healthyThreshold?: number;
  readonly unhealthyThreshold?: number;
  readonly dryRun?: boolean;
}
export interface RetrySpec {
  /** Not `on`: YAML 1.1, which kubectl reads, takes this word for a boolean. */
  readonly conditions?: readonly string[];
  readonly statusCodes?: readonly number[];
  readonly attempts?: number;
  readonly perTryTimeout?: string;
  readonly backoff?: { readonly base?: string; readonly max?: string };
  readonly retryAfterMax?: string;
  readonly unsafeMethods?: readonly string[];
  readonly hedge?: boolean;
  readonly budget?: { readonly percent?: number; readonly minRetries?: number };
  readonly dryRun?: boolean;
}
export interface TimeoutsSpec {
  readonly request?: string;
  readonly connect?: string;
  readonly streamIdle?: string;
  readonly connectionIdle?: string;
  readonly maxDuration?: string;
  readonly tcpIdle?: string;
  readonly dryRun?: boolean;
}
export type RequestMatchSpec = Pick<HttpRouteMatch, 'path' | 'method' | 'headers' | 'queryParams'>;
export interface RateLimitSpec {
  readonly name: string;
  readonly matches?: readonly RequestMatchSpec[];
  readonly keys?: readonly {
    readonly clientIdentity?: Chosen;
    readonly clientNamespace?: Chosen;
    readonly clientAddress?: Chosen;
    readonly header?: string;
    readonly cookie?: string;
    readonly query?: string;
    readonly path?: Chosen;
    readonly method?: Chosen;
    readonly route?: Chosen;
  }[];
  readonly requests: number;
  readonly per: string;
  readonly burst?: number;
  readonly dryRun?: boolean;
  readonly global?: {
    readonly failClosed?: boolean;
    readonly timeout?: string;
    readonly service?: {
      readonly name: string;
      readonly namespace?: string;
      readonly port: number;
      readonly domain?: string;
    };
  };
}
export interface ExternalAuthorizationSpec {
  readonly name: string;
  readonly matches?: readonly RequestMatchSpec[];
  readonly service: { readonly name: string; readonly namespace?: string; readonly port: number };
  readonly protocol?: 'GRPC' | 'HTTP';
  readonly grpc?: { readonly context?: Readonly<Record<string, string>> };
  readonly http?: { readonly pathPrefix?: string };
  readonly timeout?: string;
  readonly failOpen?: boolean;
  readonly statusOnError?: number;
  readonly requestHeaders?: readonly string[];
  readonly upstreamHeaders?: readonly string[];
  readonly clientHeaders?: readonly string[];
  readonly body?: { readonly bytesMax: number; readonly partial?: boolean };
  readonly cache?: string;
  readonly routesMayDisable?: boolean;
  readonly dryRun?: boolean;
}
export interface FaultSpec {
  readonly name: string;
  readonly matches?: readonly RequestMatchSpec[];
  readonly delay?: { readonly duration: string; readonly percent: string };
  readonly abort?: {
    readonly httpStatus?: number;
    readonly grpcStatus?: number;
    readonly reset?: Chosen;
    readonly percent: string;
  };
  readonly until?: string;
  readonly activeMax?: number;
  readonly dryRun?: boolean;
}
export interface LoadSheddingSpec {
  readonly adaptiveConcurrency?: {
    readonly samplePercentile?: number;
    readonly updateInterval?: string;
    readonly minRttInterval?: string;
    readonly minRttRequests?: number;
    readonly minConcurrency?: number;
    readonly concurrencyMax?: number;
    readonly bufferPercent?: number;
    readonly jitterPercent?: number;
  };
  readonly eventLoopDelayMax?: string;
  readonly memoryMax?: string;
  readonly priority?: readonly {
    readonly matches?: readonly RequestMatchSpec[];
    readonly from?: readonly ClientRef[];
  }[];
  readonly dryRun?: boolean;
}
export interface TrafficSections {
  readonly loadBalancing?: LoadBalancingSpec;
  readonly locality?: LocalitySpec;
  readonly circuitBreaker?: CircuitBreakerSpec;
  readonly outlierDetection?: OutlierDetectionSpec;
  readonly healthChecks?: readonly HealthCheckSpec[];
  readonly retry?: RetrySpec;
  readonly timeouts?: TimeoutsSpec;
  readonly rateLimits?: readonly RateLimitSpec[];
  readonly externalAuthorization?: readonly ExternalAuthorizationSpec[];
  readonly faults?: readonly FaultSpec[];
  readonly loadShedding?: LoadSheddingSpec;
}
/** The status that one controller reports for a policy at one target (GEP-713). */
export interface AncestorStatus {
  readonly ancestorRef: ParentRef;
  readonly controllerName: string;
  readonly conditions?: readonly Condition[];
}
export interface TrafficPolicyObject {
  readonly kind: 'TrafficPolicy';
  readonly metadata: Meta;
  /** Set on the closed form of an unreadable policy: why it cannot be read (compile/closed-traffic-policy.ts). */
  readonly invalid?: string;
  /** Set on the closed form: the sections that cannot be read. */
  readonly unread?: readonly string[];
  /** Set on the closed form if one of these may restrict requests: requests to the targets are refused. */
  readonly closes?: true;
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly ancestors?: readonly AncestorStatus[];
  };
  readonly spec: TrafficSections & {
    readonly targetRefs: readonly TargetRef[];
    readonly from?: readonly ClientRef[];
    readonly dryRun?: boolean;
  };
}
