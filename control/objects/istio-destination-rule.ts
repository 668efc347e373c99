/** DestinationRules, with the fields of their published CRD that Weft reads. The schema has more: dialects/istio/destination-rule/fields.ts. */

/** A wrapper of protobuf: null is as good as absent. */
type Optional<T> = T | null;

export interface IstioConnectionPool {
  readonly tcp?: {
    readonly maxConnections?: number;
    readonly connectTimeout?: string;
    readonly idleTimeout?: string;
  };
  readonly http?: {
    readonly http1MaxPendingRequests?: number;
    readonly http2MaxRequests?: number;
    readonly maxRequestsPerConnection?: number;
    readonly maxRetries?: number;
    readonly idleTimeout?: string;
    readonly h2UpgradePolicy?: string;
    readonly useClientProtocol?: boolean;
  };
}
export interface IstioConsistentHash {
  readonly httpHeaderName?: string;
  readonly httpCookie?: { readonly name: string; readonly path?: string; readonly ttl?: string };
  readonly useSourceIp?: boolean;
  readonly httpQueryParameterName?: string;
  readonly ringHash?: { readonly minimumRingSize?: number };
  readonly maglev?: { readonly tableSize?: number };
  readonly minimumRingSize?: number;
}
export interface IstioLoadBalancer {
  readonly simple?: string;
  readonly consistentHash?: IstioConsistentHash;
  readonly backendUtilization?: object;
  readonly warmup?: {
    readonly duration: string;
    readonly minimumPercent?: Optional<number>;
    readonly aggression?: Optional<number>;
  };
  readonly warmupDurationSecs?: string;
  readonly localityLbSetting?: {
    readonly enabled?: Optional<boolean>;
    readonly distribute?: readonly object[];
    readonly failover?: readonly object[];
    readonly failoverPriority?: readonly string[];
  };
}
export interface IstioOutlierDetection {
  /** The former name of `consecutive5xxErrors`. */
  readonly consecutiveErrors?: number;
  readonly consecutive5xxErrors?: Optional<number>;
  readonly consecutiveGatewayErrors?: Optional<number>;
  readonly consecutiveLocalOriginFailures?: Optional<number>;
  readonly splitExternalLocalOriginErrors?: boolean;
  readonly failurePercentageThreshold?: Optional<number>;
  readonly interval?: string;
  readonly baseEjectionTime?: string;
  readonly maxEjectionPercent?: number;
  readonly minHealthPercent?: number;
}
export interface IstioClientTls {
  readonly mode?: string;
  readonly sni?: string;
  readonly subjectAltNames?: readonly string[];
  readonly caCertificates?: string;
  readonly [field: string]: unknown;
}
/** What may be set of a Service, of one of its ports, and of a subset. */
export interface IstioPortPolicy {
  readonly connectionPool?: IstioConnectionPool;
  readonly loadBalancer?: IstioLoadBalancer;
  readonly outlierDetection?: IstioOutlierDetection;
  readonly tls?: IstioClientTls;
}
export interface IstioTrafficPolicy extends IstioPortPolicy {
  readonly portLevelSettings?: readonly (IstioPortPolicy & {
    readonly port?: { readonly number?: number };
  })[];
  readonly retryBudget?: {
    readonly percent?: Optional<number>;
    readonly minRetryConcurrency?: number;
  };
  readonly proxyProtocol?: object;
  readonly tunnel?: object;
}
export interface IstioSubset {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly trafficPolicy?: IstioTrafficPolicy;
}
export interface DestinationRuleSpec {
  readonly host: string;
  readonly exportTo?: readonly string[];
  readonly workloadSelector?: object;
  readonly trafficPolicy?: IstioTrafficPolicy;
  readonly subsets?: readonly IstioSubset[];
}
