/** What is told of a request, once it is over: metrics and the access log are made of it. */
import type { Client } from '../listener/client.js';
import type { Endpoint } from '../upstream/endpoint.js';

/**
 * Why an answer is the waypoint's own, or was cut short; the letters are those that Envoy's dashboards know. NR: no route.
 * NC: no such backend. UH: no healthy endpoint. UF: no connection to one. UC: it broke off. UT: it took too long. URX:
 * retries are used up. UPE: it broke the protocol. DC: the client left. DPE: the client broke the protocol. UO: a limit. RBAC: a policy.
 */
export type ResponseFlag =
  'NR' | 'NC' | 'UH' | 'UF' | 'UC' | 'UT' | 'URX' | 'UPE' | 'DC' | 'DPE' | 'UO' | 'RBAC';

export interface RequestRecord {
  readonly client: Client;
  /** The Service's hostname, or the address that was asked for. */
  readonly service: string;
  readonly serviceName: string;
  readonly serviceNamespace: string;
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly version: string;
  readonly protocol: 'http' | 'grpc';
  readonly status: number;
  readonly grpcStatus: string | undefined;
  readonly flag: ResponseFlag | undefined;
  /** A stable code where the waypoint itself decided: WEFT_... */
  readonly code: string | undefined;
  readonly why: string | undefined;
  readonly route: string | undefined;
  readonly endpoint: Endpoint | undefined;
  readonly attempts: number;
  readonly policy: string | undefined;
  readonly rule: number | undefined;
  readonly audited: readonly string[];
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly startedMs: number;
  readonly durationMs: number;
}
