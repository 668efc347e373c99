/** State that the connections and requests of one worker share. */
import type { FairLimit } from '../../base/fair-limit.js';
import type { Rechecked } from '../authorization/endpoint-policies.js';
import type { Client } from '../listener/client.js';
import type { Destination } from '../listener/destination.js';
import type { DetectionResult } from '../listener/protocol-detection.js';
import type { ExternalAuthorization } from '../external-authorization/external-authorization.js';
import type { GlobalLimits } from '../rate-limit/global/global-limits.js';
import type { InjectedFaults } from '../filters/injected-faults.js';
import type { RateLimits } from '../rate-limit/rate-limits.js';
import type { RequestRecord, TrafficAction } from '../telemetry/request-record.js';
import type { UpstreamEvent } from '../telemetry/upstream-events.js';
import type { Tracing } from '../telemetry/tracing.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { MirrorContext } from '../upstream/mirror.js';
import type { JwtTokens } from '../jwt/jwt-tokens.js';
import type { Shedding } from '../shedding/shedding.js';
import type { ByDestination } from './by-destination.js';

/** A request under way (exchange/exchange.ts). */
export interface ActiveRequest extends Rechecked {
  /** Its index in the set of requests (IntrusiveSet). */
  slot: number;
  readonly destination: Destination;
  /** Ends the request if an idle timeout has expired. `nowMs`: by the monotonic clock. */
  checkIdle(nowMs: number): void;
}

/** A client's connection (listener/connection.ts). */
export interface ActiveConnection extends Rechecked {
  /** Its index in the set of connections (IntrusiveSet). */
  slot: number;
  readonly destination: Destination;
  /** Accepts no further requests; those under way go on. */
  drain(): void;
  destroy(): void;
}

export interface RequestContext extends MirrorContext {
  /** Consecutive slashes in paths are merged. */
  readonly mergeSlashes: boolean;
  /** Proxies ahead of the waypoint whose word about the client's address counts. Absent: 0. */
  readonly trustedProxies?: number | undefined;
  /** Undefined: no spans are made. */
  readonly tracing?: Tracing | undefined;
  /** Requests under way, for drains, idle timeouts and rechecks. */
  readonly exchanges: ByDestination<ActiveRequest>;
  readonly requestShares: FairLimit;
  readonly globalRateLimits?: GlobalLimits | undefined;
  readonly rateLimits: RateLimits;
  /** Undefined: no decision service can be asked, so that requests with such a policy are refused. */
  readonly externalAuthorization?: ExternalAuthorization | undefined;
  readonly faults: InjectedFaults;
  readonly shedding: Shedding;
  readonly jwt: JwtTokens;
  onRequestEnd(record: RequestRecord): void;
  /** Called for each action of a traffic policy. `namespace`: of the Service. */
  onAction(action: TrafficAction, namespace: string): void;
  /** Called for what happens to attempts. `namespace`: of the endpoint's workload. */
  onUpstreamEvent(event: UpstreamEvent, cluster: string, namespace: string): void;
}

/** Why a connection was not relayed. */
export interface RelayRefusal {
  readonly why: string;
  /** Absent: for another reason than a policy or a limit. */
  readonly code?: 'WEFT_DENIED' | 'WEFT_CONNECTIONS_FULL';
  /** The policy that denied, and the index of its rule. */
  readonly policy?: string | undefined;
  readonly rule?: number | undefined;
}
export interface RelayOutcome {
  /** Undefined: it was relayed. */
  readonly refusal?: RelayRefusal | undefined;
  /** Policies in audit mode that would have denied. */
  readonly audited: readonly string[];
}

export interface ConnectionContext extends RequestContext {
  readonly connections: ByDestination<ActiveConnection>;
  readonly connectionShares: FairLimit;
  /** Called for bytes that are no valid request. `status`: the response to the client. */
  onUnreadable(status: number, why: string, client: Client): void;
  /** Called for each connection whose protocol its first bytes had to show. */
  onDetected(result: DetectionResult): void;
  /** Called for a connection that is relayed as TCP, or was refused. `refused`: the reason. `code`: a stable one (WEFT_...), if there is one. */
  onRelay(
    client: Client,
    destination: Destination,
    endpoint: Endpoint | undefined,
    outcome: RelayOutcome,
  ): void;
}
