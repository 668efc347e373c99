/**
 * A copy of a request that is sent to another backend. Its response is discarded, and it never delays the request. The body is forwarded as
 * the client sends it. Bytes that the mirror does not accept at that speed wait in a bounded buffer; if the buffer is full, the mirror is
 * canceled and counted.
 */
import type { FairLimit } from '../../base/fair-limit.js';
import type { BackendTarget } from '../../model/route.js';
import type { HttpAttributes } from '../../policy/authorize.js';
import { attributesOf } from '../authorization/request-attributes.js';
import { versionOf } from '../cluster/http-version.js';
import type { WaypointLimit, WaypointLimits } from '../limits.js';
import type { WaypointState } from '../state/waypoint-state.js';
import type { Reservation } from '../cluster/breaker/circuit-breaker.js';
import type { Cluster } from '../cluster/cluster.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import type { ClusterManager } from '../cluster/cluster-manager.js';
import type { Pending } from '../cluster/pending-queue.js';
import type { Client } from '../listener/client.js';
import { unknownService } from '../listener/destination.js';
import { authorizeClient } from '../authorization/authorize.js';
import { EndpointUse } from '../authorization/endpoint-use.js';
import type { RequestHead, ResponseHead, Upstream, UpstreamListener } from '../http/http-stream.js';
import type { FieldNames } from '../http/field-names.js';
import type { Headers } from '../http/headers.js';
import { MirrorBuffer } from './mirror-buffer.js';
import type { Endpoint } from '../cluster/endpoint.js';

/**
 * The result of a copy. `complete`: the mirror received all of it and responded. `early-response`: the mirror responded before the request's
 * end. `no-endpoint`, `denied` (by policy), `failed` (no connection, or it was closed early): the copy was not sent, or not completely.
 * `buffer`: the mirror was slower than the client, and its buffer is full. `limit`: too many mirrors are under way. `stalled`: the mirror
 * accepted nothing, or its response did not end, for too long. `request-ended`: the request itself was aborted, or got its response before
 * its end.
 */
type MirrorResult =
  | 'complete'
  | 'early-response'
  | 'no-endpoint'
  | 'denied'
  | 'failed'
  | 'buffer'
  | 'limit'
  | 'stalled'
  | 'request-ended';

/** State that all mirrors of a worker share. */
export interface MirrorContext {
  readonly state: WaypointState;
  readonly clusters: ClusterManager;
  readonly limits: WaypointLimits;
  /** Shares of the limit of mirrors under way. A mirror may outlive its request. */
  readonly mirrorShares: FairLimit;
  /** Shares of the limit of buffered bytes, in blocks of MirrorBuffer. */
  readonly mirrorBufferShares: FairLimit;
  /** Called with the result of each copy. */
  onMirrorEnd(result: MirrorResult): void;
  onLimitReached(limit: WaypointLimit): void;
  /** Called for each action of a traffic policy. `namespace`: of the Service. */
  onAction(action: TrafficAction, namespace: string): void;
}

interface MirroredRequest {
  readonly isHttp2: boolean;
  readonly isGrpc: boolean;
  /** The attributes of the request as the client sent it. */
  asked(): HttpAttributes;
  /** Headers that the copy must not have. */
  readonly unproven: readonly FieldNames[];
}

export class Mirror implements UpstreamListener {
  #endpoint: Endpoint | undefined;
  readonly #use = new EndpointUse(this);
  #copy: RequestHead | undefined;
  #upstream: Upstream | undefined;
  /** The cluster that counts the copy as a request under way. */
  #cluster: Cluster | undefined;
  #held: Reservation | undefined;
  /** The copy waits for a connection. */
  #pending: Pending | undefined;
  readonly #buffer: MirrorBuffer;
  /** The mirror's connection is full: further bytes go to the buffer. */
  #isFull = false;
  #ended = false;
  #endSent = false;
  #trailers: Headers | undefined;
  #over = false;
  #hasShare = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly context: MirrorContext,
    private readonly client: Client,
    private readonly backend: BackendTarget,
    private readonly request: MirroredRequest,
  ) {
    this.#buffer = new MirrorBuffer(context.limits.mirrorBufferBytesMax, context.mirrorBufferShares, client);
  }

  /**
   * A mirror is a request to another Service: that Service's policies have to allow the client, for the request as the client sent it and for
   * the copy.
   */
  #isAllowed(): boolean {
    const { context, client, backend } = this;
    if (!this.#endpoint || !this.#copy || backend.kind !== 'service') return false;
    if (unknownService(context.state, backend) !== undefined) return false;
    const groups = context.state.policies.ofEndpoint(this.#endpoint, backend);
    return (
      groups.length === 0 ||
      [this.request.asked(), attributesOf(this.#copy, this.request.asked())].every(
        (attributes) => authorizeClient(groups, client, attributes).allowed,
      )
    );
  }

  /** Authorizes the mirror again after a mesh update. */
  recheck(): void {
    if (!this.#over && this.#endpoint && !this.#isAllowed()) this.#cut('denied');
  }

  begin(head: RequestHead, hasBody: boolean): void {
    if (this.#over) return;
    const { context, backend, request } = this;
    if (!hasBody) this.#ended = this.#endSent = true;
    if (context.mirrorShares.take(this.client.name, this.client.group) !== undefined) {
      context.onLimitReached('mirrors');
      return this.#cut('limit');
    }
    this.#hasShare = true;
    const cluster =
      backend.kind === 'service' ? context.clusters.ofService(backend.service, backend.port) : undefined;
    const copy: RequestHead = (this.#copy = { ...head, headers: [...head.headers] });
    for (const names of request.unproven) names.removeFrom(copy.headers);
    const keyed = { client: this.client, downstream: { head: copy }, routeLabel: undefined };
    const endpoint = cluster?.pick({ hash: cluster.requestHash?.hash(keyed) }) ?? 'none';
    if (!cluster || typeof endpoint === 'string') return this.#cut('no-endpoint');
    this.#endpoint = endpoint;
    if (!this.#isAllowed() || backend.kind !== 'service') return this.#cut('denied');
    this.#held = cluster.admit(endpoint, this.client, this);
    if (!this.#held) {
      const { action } = cluster.overflow;
      if (action) this.act(action);
      return this.#cut('limit');
    }
    this.#cluster = cluster;
    this.#use.begin(context.state.policies, endpoint, backend);
    this.#await();
    const version = versionOf(endpoint, request.isHttp2, request.isGrpc);
    this.#pending = cluster.acquire(endpoint, this.client, version, false, (upstream) => {
      if (this.#over) return void upstream?.cancel();
      if (!upstream) return this.#finish('failed');
      this.#upstream = upstream;
      upstream.listener = this;
      upstream.send(copy, hasBody, undefined);
      if (hasBody) this.#pump();
    });
  }

  /** Counts what a traffic policy did to the copy. */
  act(action: TrafficAction): void {
    if (this.#endpoint) this.context.onAction(action, this.#endpoint.workload.namespace);
  }

  write(bytes: Buffer): void {
    if (this.#over) return;
    const upstream = this.#upstream;
    if (upstream && !this.#isFull && this.#buffer.isEmpty) {
      if (!upstream.write(bytes)) this.#wait();
    } else if (!this.#buffer.add(bytes)) {
      this.context.onLimitReached('mirror-buffer');
      this.#cut('buffer');
    }
  }

  end(trailers: Headers | undefined): void {
    if (this.#over || this.#endSent) return;
    this.#ended = true;
    // Other copies have the same trailers.
    this.#trailers = trailers && [...trailers];
    for (const names of this.request.unproven) names.removeFrom(this.#trailers ?? []);
    if (this.#upstream && this.#buffer.isEmpty) this.#sendEnd(this.#upstream);
  }

  /** The request itself ended early. */
  cancel(): void {
    this.#cut('request-ended');
  }

  /** Sends buffered bytes, as far as the mirror accepts them. */
  #pump(): void {
    const upstream = this.#upstream;
    if (!upstream) return;
    this.#isFull = false;
    if (this.#endSent) return this.#await();
    clearTimeout(this.#timer);
    this.#buffer.drain((bytes) => {
      const isRoom = upstream.write(bytes);
      this.#isFull = !isRoom;
      return isRoom;
    });
    if (this.#isFull) this.#wait();
    if (this.#ended && this.#buffer.isEmpty) this.#sendEnd(upstream);
  }

  #wait(): void {
    this.#isFull = true;
    this.#await();
  }

  #sendEnd(upstream: Upstream): void {
    this.#endSent = true;
    this.#await();
    upstream.end(this.#trailers);
  }

  /** Restarts the mirror's idle timer. Nothing else ends a mirror that makes no progress: it and its connection would stay forever. */
  #await(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#cut('stalled'), this.context.limits.mirrorIdleMsMax);
    this.#timer.unref();
  }

  #cut(result: MirrorResult): void {
    const upstream = this.#upstream;
    this.#finish(result);
    upstream?.cancel();
  }
  #finish(result: MirrorResult): void {
    if (this.#over) return;
    this.#over = true;
    this.#use.end();
    clearTimeout(this.#timer);
    this.#pending?.cancel();
    if (this.#endpoint && this.#held) this.#cluster?.release(this.#endpoint, this.#held);
    this.#buffer.clear();
    this.#upstream = undefined;
    if (this.#hasShare) this.context.mirrorShares.release(this.client.name, this.client.group);
    this.context.onMirrorEnd(result);
  }

  onInterim(): void {}
  onHead(_head: ResponseHead, hasBody: boolean): void {
    if (!hasBody) this.onResponseEnd();
  }
  onUpgraded(): void {
    this.#cut('failed');
  }
  /** The response's bytes do not restart the timer: nobody reads them, and a response without an end would keep the mirror forever. */
  onResponseData(): void {}
  onResponseEnd(): void {
    // The mirror responded before the request's end: it does not need the rest.
    if (this.#endSent) this.#finish('complete');
    else this.#cut('early-response');
  }
  onUpstreamDrain(): void {
    if (!this.#over) this.#pump();
  }
  onError(): void {
    this.#finish('failed');
  }
}

/** All mirrors of one request. */
export class Mirrors {
  readonly #all: Mirror[] = [];
  #hasBegun = false;

  add(mirror: Mirror): void {
    this.#all.push(mirror);
  }
  /** Starts the mirrors once, whatever number of attempts the request has. */
  begin(head: RequestHead, hasBody: boolean): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    for (const mirror of this.#all) mirror.begin(head, hasBody);
  }
  write(bytes: Buffer): void {
    for (const mirror of this.#all) mirror.write(bytes);
  }
  end(trailers: Headers | undefined): void {
    for (const mirror of this.#all) mirror.end(trailers);
  }
  /**
   * The request has ended. Copies that have begun go on if it was sent whole; others never begin, and would keep the bytes that wait for them.
   */
  requestOver(whole: boolean): void {
    if (whole && this.#hasBegun) return;
    for (const mirror of this.#all) mirror.cancel();
  }
}
