/** What the connections and requests of one worker share. */
import type { FairLimit } from '../../base/fair-limit.js';
import type { ChangeImpact } from '../state/change-impact.js';
import type { Client } from '../listener/client.js';
import type { Destination } from '../listener/destination.js';
import type { IntrusiveSet } from '../exchange/intrusive-set.js';
import type { RequestRecord } from '../telemetry/request-record.js';
import type { Tracing } from '../telemetry/tracing.js';
import type { Endpoint } from '../upstream/endpoint.js';
import type { MirrorContext } from '../upstream/mirror.js';

/** Decided again after each update of the mesh that affects it. */
interface Rechecked {
  isAffected(impact: ChangeImpact): boolean;
  /** Ends what is now forbidden. */
  recheck(): void;
}

/** A request under way (exchange/exchange.ts). */
export interface ActiveRequest extends Rechecked {
  /** Its index in the set of requests (IntrusiveSet). */
  slot: number;
  /** Ends what has not moved for too long; `nowMs` of the monotonic clock. */
  checkIdle(nowMs: number): void;
}

/** A client's connection (listener/connection.ts). */
export interface ActiveConnection extends Rechecked {
  /** No more requests on it than those under way. */
  drain(): void;
  destroy(): void;
}

export interface RequestContext extends MirrorContext {
  /** Slashes of paths that follow each other are made one. */
  readonly mergeSlashes: boolean;
  /** Undefined: nobody collects spans. */
  readonly tracing?: Tracing | undefined;
  /** Requests under way, for drains, idle clocks and rechecks. */
  readonly exchanges: IntrusiveSet<ActiveRequest>;
  readonly requestShares: FairLimit;
  onRequestEnd(record: RequestRecord): void;
}

export interface ConnectionContext extends RequestContext {
  readonly connections: Set<ActiveConnection>;
  readonly connectionShares: FairLimit;
  /** Bytes of a client that are no request; `status` is what it was sent. */
  onUnreadable(status: number, why: string, client: Client): void;
  /** A connection whose bytes are relayed as they are, or that was refused. */
  onRelay(
    client: Client,
    destination: Destination,
    endpoint: Endpoint | undefined,
    refused: string | undefined,
  ): void;
}
