/** One attempt of a request at one endpoint (Envoy: UpstreamRequest). A request has several if it is retried or hedged. */
import { performance } from 'node:perf_hooks';
import { EndpointUse } from '../authorization/endpoint-use.js';
import type { Rechecked } from '../authorization/endpoint-policies.js';
import type { PolicyGroups } from '../authorization/policy-groups.js';
import type { ServicePort } from '../authorization/reachable.js';
import type { Reservation } from '../cluster/breaker/circuit-breaker.js';
import type { Cluster } from '../cluster/cluster.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { Outcome } from '../cluster/outcome.js';
import type { Pending } from '../cluster/pending-queue.js';
import type { Headers } from '../http/headers.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import type { ResponseHead, Upstream, UpstreamFailure, UpstreamListener } from '../http/http-stream.js';

/** The router of the request. Nothing is called once the attempt is over. */
export interface AttemptOwner {
  onInterim(head: ResponseHead): void;
  onHead(attempt: Attempt, head: ResponseHead, hasBody: boolean): void;
  onUpgraded(attempt: Attempt, head: ResponseHead): void;
  onResponseData(bytes: Buffer): void;
  onResponseEnd(trailers: Headers | undefined): void;
  onUpstreamDrain(): void;
  onError(attempt: Attempt, failure: UpstreamFailure): void;
}

export class Attempt implements UpstreamListener {
  /** Undefined while there is no connection. */
  upstream: Upstream | undefined;
  /** It no longer counts, and later events of its upstream are ignored. */
  isOver = false;
  /** Another attempt was started beside it, because it took too long. */
  isHedged = false;
  #pending: Pending | undefined;
  readonly #use: EndpointUse;
  readonly #beganMs = performance.now();
  #isSlow = false;
  /** Bounds the attempt with its whole response. */
  #limit: NodeJS.Timeout | undefined;
  /** Bounds the time until the response begins. */
  #tryTimeout: NodeJS.Timeout | undefined;

  /**
   * The cluster has admitted the request to the endpoint.
   * @param held what the cluster counts of the request
   * @param retryOf the cluster whose retry budget counts the attempt
   */
  constructor(
    private readonly owner: AttemptOwner,
    request: Rechecked,
    readonly cluster: Cluster,
    readonly endpoint: Endpoint,
    private readonly held: Reservation,
    private retryOf: Cluster | undefined,
  ) {
    this.#use = new EndpointUse(request);
  }

  /** Call it in the same turn of the event loop as the authorization. */
  use(policies: PolicyGroups, sent: ServicePort | undefined): void {
    this.#use.begin(policies, this.endpoint, sent);
  }

  /** The attempt waits for a connection. */
  set pending(pending: Pending | undefined) {
    this.#pending = pending;
  }

  connected(upstream: Upstream): void {
    this.#pending = undefined;
    this.upstream = upstream;
    upstream.listener = this;
  }

  /** Sets the timeout of the attempt with its whole response (GEP-1742). */
  limit(ms: number, onTimeout: () => void): void {
    this.#limit = setTimeout(onTimeout, ms);
  }

  clearLimit(): void {
    clearTimeout(this.#limit);
  }

  /** Sets the timeout until the response begins (Envoy: per_try_timeout). */
  limitTry(ms: number, onTimeout: () => void): void {
    this.#tryTimeout = setTimeout(onTimeout, ms);
  }

  clearTryTimeout(): void {
    clearTimeout(this.#tryTimeout);
  }

  /**
   * Reports to the cluster how the attempt ended. Returns what outlier detection did about it. `nowMs`: by the monotonic clock.
   */
  report(outcome: Outcome, nowMs: number): TrafficAction | undefined {
    if (this.#isSlow) return undefined;
    return this.cluster.report(this.endpoint, outcome, nowMs - this.#beganMs, nowMs);
  }

  /** Reports a timeout of an attempt that goes on. What comes of it is not reported any more. */
  reportSlow(nowMs: number): TrafficAction | undefined {
    const action = this.report('timeout', nowMs);
    this.#isSlow = true;
    return action;
  }

  /** Cancels the upstream: the rest of the response is discarded. An attempt that waits for a connection no longer waits. */
  cancel(): void {
    const { upstream } = this;
    this.upstream = undefined;
    this.#pending?.cancel();
    this.#pending = undefined;
    upstream?.cancel();
  }

  /** Leaves the upstream, whose response is complete: its connection can serve further requests. */
  leave(): void {
    if (this.upstream) this.upstream.listener = undefined;
    this.upstream = undefined;
  }

  /** The retry that failed no longer counts. */
  releaseRetry(): void {
    this.retryOf?.releaseRetry();
    this.retryOf = undefined;
  }

  /** Ends the attempt. Its upstream is canceled, or left, before. */
  end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.clearLimit();
    this.clearTryTimeout();
    this.#pending?.cancel();
    this.#use.end();
    this.cluster.release(this.endpoint, this.held);
    this.releaseRetry();
  }

  /** Cancels the upstream and ends the attempt. */
  abort(): void {
    this.cancel();
    this.end();
  }

  onInterim(head: ResponseHead): void {
    if (!this.isOver) this.owner.onInterim(head);
  }
  onHead(head: ResponseHead, hasBody: boolean): void {
    if (!this.isOver) this.owner.onHead(this, head, hasBody);
  }
  onUpgraded(head: ResponseHead): void {
    if (!this.isOver) this.owner.onUpgraded(this, head);
  }
  onResponseData(bytes: Buffer): void {
    if (!this.isOver) this.owner.onResponseData(bytes);
  }
  onResponseEnd(trailers: Headers | undefined): void {
    if (!this.isOver) this.owner.onResponseEnd(trailers);
  }
  onUpstreamDrain(): void {
    if (!this.isOver) this.owner.onUpstreamDrain();
  }
  onError(failure: UpstreamFailure): void {
    if (!this.isOver) this.owner.onError(this, failure);
  }
}
