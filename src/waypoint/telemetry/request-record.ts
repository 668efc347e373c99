/** The record of a request that has ended. Metrics and the access log are made from it. */
import type { Client } from '../listener/client.js';
import type { Endpoint } from '../cluster/endpoint.js';

/**
 * Why the waypoint responded itself or aborted a response. The letters are Envoy's response flags. NR: no route matches. NC: no such backend.
 * UH: no healthy endpoint. UF: connecting to an endpoint failed. UC: the endpoint closed the connection. UT: timeout. URX: retry limit
 * reached. UPE: the endpoint violated the protocol. DC: the client disconnected. DPE: the client violated the protocol. UO: a limit was
 * reached. RBAC: denied by a policy. LR: the waypoint itself ended the request, because a filter failed or the request is in a loop. RL: rate
 * limited. JWT: the request has no valid token. UAEX: denied by external authorization, or there was no decision. RLSE: the rate limit service
 * failed. OM: load shedding. FI, DI: an abort or a delay was injected. DT: the request took longer than its greatest duration.
 */
export type ResponseFlag =
  | 'NR'
  | 'NC'
  | 'UH'
  | 'UF'
  | 'UC'
  | 'UT'
  | 'URX'
  | 'UPE'
  | 'DC'
  | 'DPE'
  | 'UO'
  | 'RBAC'
  | 'LR'
  | 'RL'
  | 'RLSE'
  | 'JWT'
  | 'OM'
  | 'FI'
  | 'DI'
  | 'DT'
  | 'UAEX';

/** The parts of a TrafficPolicy that act on requests and connections, as metrics name them. */
export type TrafficFeature =
  | 'circuit-breaker'
  | 'outlier-detection'
  | 'health-check'
  | 'retry'
  | 'hedge'
  | 'timeout'
  | 'local-rate-limit'
  | 'global-rate-limit'
  | 'external-authorization'
  | 'fault-delay'
  | 'fault-abort'
  | 'load-shedding'
  | 'jwt'
  | 'panic'
  | 'failover';

/** What a part of a policy did. `would`: it is in dry run, so it did nothing. */
export interface TrafficAction {
  readonly feature: TrafficFeature;
  readonly mode: 'did' | 'would';
  /** The object, and the name of its part if there are several: `TrafficPolicy shop/limits`, `TrafficPolicy shop/limits per-client`. */
  readonly policy: string;
  /** For the log. */
  readonly reason?: string;
}

/** Counts and logs what traffic policies do. */
export interface ActionObserver {
  act(action: TrafficAction): void;
}

export interface RequestRecord {
  /** Of the worker's requests; `requestIdOf` makes the id of it that is printed. */
  readonly number: number;
  readonly client: Client;
  /** The Service's hostname, or the address that the client dialed. */
  readonly service: string;
  readonly serviceName: string;
  readonly serviceNamespace: string;
  /** The port of the Service or workload that the client dialed. */
  readonly port: number;
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly version: string;
  readonly protocol: 'http' | 'grpc';
  readonly status: number;
  readonly grpcStatus: string | undefined;
  readonly flag: ResponseFlag | undefined;
  /** A stable code (WEFT_...) if the waypoint itself decided the response. */
  readonly code: string | undefined;
  readonly why: string | undefined;
  /** `<issuer>/<subject>` of the client's valid token. */
  readonly principal?: string | undefined;
  readonly route: string | undefined;
  readonly endpoint: Endpoint | undefined;
  readonly attempts: number;
  /** How often the request was sent before it reached the waypoint, as the client says. Read only where the waypoint retries as well. */
  readonly attemptsBefore: number;
  readonly policy: string | undefined;
  readonly rule: number | undefined;
  readonly audited: readonly string[];
  /** What traffic policies did to the request, in order. */
  readonly actions: readonly TrafficAction[];
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly startedMs: number;
  readonly durationMs: number;
}
