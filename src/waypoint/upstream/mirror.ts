/**
 * A copy of a request whose response nobody reads, and which holds nobody up. Its body is sent on as the client sends it. What the mirror
 * does not take at that speed waits in a bounded buffer; a mirror for which that is too small is cut, and counted.
 */
import { performance } from 'node:perf_hooks';
import type { FairLimit } from '../../base/fair-limit.js';
import type { BackendTarget } from '../../model/route.js';
import type { HttpAttributes } from '../../policy/authorize.js';
import { attributesOf } from '../authorization/request-attributes.js';
import { versionOf } from './http-version.js';
import { chooseEndpoint } from './load-balancer.js';
import type { WaypointLimit, WaypointLimits } from '../limits.js';
import type { WaypointState } from '../state/waypoint-state.js';
import type { UpstreamPool } from './connection-pool.js';
import type { Client } from '../listener/client.js';
import { unknownService } from '../listener/destination.js';
import { authorizeClient } from '../authorization/authorize.js';
import type { RequestHead, ResponseHead, Upstream, UpstreamListener } from '../http/http-stream.js';
import type { Headers } from '../http/headers.js';
import { MirrorBuffer } from './mirror-buffer.js';
import type { Endpoint } from './endpoint.js';
import type { ChangeImpact } from '../state/change-impact.js';

/**
 * What became of a copy. `complete`: the mirror got all of it and responded. `early-response`: it responded ahead of the request's end.
 * `no-endpoint`, `denied` (by policy), `failed` (no connection, or it broke off): it was not sent, or not to its end. `buffer`: the mirror
 * was slower than the client, and its buffer is full. `limit`: too many mirrors are under way. `stalled`: it took nothing, or its response did
 * not end, for too long. `request-ended`: the request itself
 * was broken off, or responded to ahead of its end.
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

/** What mirrors share with all others of their worker. */
export interface MirrorContext {
  readonly state: WaypointState;
  readonly pool: UpstreamPool;
  readonly limits: WaypointLimits;
  /** Mirrors under way: one may outlive its request. */
  readonly mirrorShares: FairLimit;
  /** What waits for mirrors, in blocks of MirrorBuffer. */
  readonly mirrorBufferShares: FairLimit;
  /** What became of a copy of a request. */
  onMirrorEnd(result: MirrorResult): void;
  onLimitReached(limit: WaypointLimit): void;
}

interface MirroredRequest {
  readonly isHttp2: boolean;
  readonly isGrpc: boolean;
  /** The request as the client asked it. */
  asked(): HttpAttributes;
}

export class Mirror implements UpstreamListener {
  #endpoint: Endpoint | undefined;
  #copy: RequestHead | undefined;
  #upstream: Upstream | undefined;
  readonly #buffer: MirrorBuffer;
  /** The mirror took less than it was given: what follows waits. */
  #isFull = false;
  #ended = false;
  #endSent = false;
  #trailers: Headers | undefined;
  #over = false;
  #hasPlace = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly context: MirrorContext,
    private readonly client: Client,
    private readonly backend: BackendTarget,
    private readonly request: MirroredRequest,
  ) {
    this.#buffer = new MirrorBuffer(context.limits.mirrorBufferBytesMax, context.mirrorBufferShares, client);
  }

  /** A mirror is a request to another Service: that Service's policies count for the client, as asked and as sent. */
  #isAllowed(): boolean {
    const { context, client, backend } = this;
    if (!this.#endpoint || !this.#copy || backend.kind !== 'service') return false;
    if (unknownService(context.state, backend) !== undefined) return false;
    const groups = context.state.policies.ofEndpoint(this.#endpoint, backend);
    return (
      groups.length === 0 ||
      (authorizeClient(groups, client, this.request.asked()).allowed &&
        authorizeClient(groups, client, attributesOf(this.#copy)).allowed)
    );
  }

  isAffected(touched: ChangeImpact): boolean {
    const { backend } = this;
    return (
      backend.kind === 'service' && this.#endpoint !== undefined && touched.endpoint(this.#endpoint, backend)
    );
  }

  /** After a change of the mesh. */
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
    this.#hasPlace = true;
    const endpoints =
      backend.kind === 'service' ? context.state.endpoints(backend.service, backend.port) : undefined;
    const endpoint = chooseEndpoint(endpoints ?? [], undefined, performance.now(), Math.random);
    if (!endpoint) return this.#cut('no-endpoint');
    this.#endpoint = endpoint;
    const copy: RequestHead = (this.#copy = { ...head, headers: [...head.headers] });
    if (!this.#isAllowed()) return this.#cut('denied');
    this.#await();
    const version = versionOf(endpoint, request.isHttp2, request.isGrpc);
    context.pool.acquire(endpoint, this.client, version, false, (upstream) => {
      if (this.#over) return void upstream?.cancel();
      if (!upstream) return this.#finish('failed');
      this.#upstream = upstream;
      upstream.listener = this;
      upstream.send(copy, hasBody, undefined);
      if (hasBody) this.#pump();
    });
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
    this.#trailers = trailers;
    if (this.#upstream && this.#buffer.isEmpty) this.#sendEnd(this.#upstream);
  }

  /** The request itself came to no end. */
  cancel(): void {
    this.#cut('request-ended');
  }

  /** What waits goes on, as far as the mirror takes it. */
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

  /** Nobody else waits for the mirror: one that does not move would be forgotten, and its connection with it. */
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
    clearTimeout(this.#timer);
    this.#buffer.clear();
    this.#upstream = undefined;
    if (this.#hasPlace) this.context.mirrorShares.release(this.client.name, this.client.group);
    this.context.onMirrorEnd(result);
  }

  onInterim(): void {}
  onHead(_head: ResponseHead, hasBody: boolean): void {
    if (!hasBody) this.onResponseEnd();
  }
  onUpgraded(): void {
    this.#cut('failed');
  }
  /** No reason to wait longer: nobody reads it, and one without an end would be kept for good. */
  onResponseData(): void {}
  onResponseEnd(): void {
    // The rest of a request that was responded to ahead of its end is of no use to the mirror.
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
  /** Once, whatever attempts there are. */
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
  cancel(): void {
    for (const mirror of this.#all) mirror.cancel();
  }
  isAffected(touched: ChangeImpact): boolean {
    return this.#all.some((mirror) => mirror.isAffected(touched));
  }
  recheck(): void {
    for (const mirror of this.#all) mirror.recheck();
  }
}
