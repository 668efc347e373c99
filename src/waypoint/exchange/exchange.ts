/**
 * One request, from its head to the end of its response. Read the file from `start` downwards: limits, the Service's policies, the route's
 * rule, filters, an endpoint and its policies, a connection; then events of the client, events of the endpoint, retries, and the end.
 */
import { performance } from 'node:perf_hooks';
import type { Span } from '@opentelemetry/api';
import { formatSocketAddress } from '../../model/address.js';
import type { BackendTarget, RouteFilter } from '../../model/route.js';
import { RequestAuthorization } from '../authorization/request-authorization.js';
import { addForwarding } from '../filters/forwarding-headers.js';
import { RequestFilters } from '../filters/request-filters.js';
import { isGrpcType } from '../http/grpc.js';
import { headerOf, type Headers } from '../http/headers.js';
import type {
  ClientEnd,
  Downstream,
  DownstreamListener,
  RequestHead,
  ResponseHead,
  UpstreamFailure,
  UpstreamListener,
} from '../http/http-stream.js';
import {
  invalidBackend,
  localReplyHead,
  localReplyOf,
  noHealthyEndpoint,
  noRoute,
  requestLimitReply,
  type LocalReply,
} from '../http/local-reply.js';
import type { Client } from '../listener/client.js';
import type { Destination } from '../listener/destination.js';
import { RouteSelection } from '../routes/route-selection.js';
import type { ChangeImpact } from '../state/change-impact.js';
import { RequestInfo } from '../telemetry/request-info.js';
import { Attempts, type Next } from '../upstream/attempts.js';
import type { Endpoint } from '../upstream/endpoint.js';
import { versionOf, type HttpVersion } from '../upstream/http-version.js';
import { Mirror, Mirrors } from '../upstream/mirror.js';
import { executionOf, type FailedAttempt } from '../upstream/retry-policy.js';
import type { ActiveRequest, RequestContext } from '../worker/context.js';
import { IdleClock, idleTimeoutsOf } from './idle-timeouts.js';
import { ReplayBuffer } from './replay-buffer.js';

export class Exchange implements DownstreamListener, UpstreamListener, ActiveRequest {
  readonly #startedMs = performance.now();
  readonly #idle = new IdleClock(this.#startedMs);
  readonly #info: RequestInfo;
  readonly #head: RequestHead;
  readonly #authorization: RequestAuthorization;
  readonly #route: RouteSelection;
  readonly #attempts = new Attempts();
  /** The reply for the last failed attempt, sent if no other endpoint is left. */
  #lastFailure: LocalReply | undefined;
  #requestTimer: NodeJS.Timeout | undefined;
  #filters: RequestFilters | undefined;
  #mirrors: Mirrors | undefined;
  readonly #replay: ReplayBuffer;
  /** The index in the context's exchanges (IntrusiveSet). */
  slot = -1;
  #hasShare = false;
  #requestEnded: boolean;
  #requestTrailers: Headers | undefined;
  #responseStarted = false;
  #responseEnded = false;
  #upgraded = false;
  #over = false;
  #span: Span | undefined;

  constructor(
    private readonly context: RequestContext,
    private readonly client: Client,
    private readonly destination: Destination,
    private readonly downstream: Downstream,
  ) {
    this.#head = downstream.head;
    this.#info = new RequestInfo(client, destination, downstream, this.#startedMs);
    this.#authorization = new RequestAuthorization(context.state, client, destination, downstream.head);
    this.#route = new RouteSelection(context.state, client, destination, downstream.head);
    this.#requestEnded = !downstream.hasBody;
    this.#replay = new ReplayBuffer(context.limits.retryBufferBytesMax);
    downstream.listener = this;
  }

  start(): void {
    const { context, downstream, destination } = this;
    const head = this.#head;
    const reached = context.requestShares.take(this.client.name, this.client.group);
    if (reached !== undefined) {
      context.onLimitReached(reached === 'all' ? 'requests' : 'requests-per-client');
      return this.#refuse(requestLimitReply(reached, context.limits.requestsMax));
    }
    this.#hasShare = true;
    context.exchanges.add(this);
    if (downstream.hasBody) downstream.pause();
    if (head.authority === '') {
      head.authority =
        destination.kind === 'service'
          ? destination.service.hostname
          : formatSocketAddress(destination.dialed);
    }
    this.#authorization.authority = this.#info.authority = head.authority;
    addForwarding(head.headers, this.client);
    this.#span = context.tracing?.begin(head);

    const refusal = this.#authorization.ofService();
    if (refusal) return this.#refuse(refusal);
    if (!this.#route.match()) return this.#refuse(noRoute);
    const { rule } = this.#route;
    if (!rule) return this.#next();
    this.#info.route = this.#route.matched?.label;
    this.#attempts.retry = rule.retry;
    this.#filters = this.#newFilters();
    if (!this.#filterRequest(rule.filters)) return;
    if (rule.requestTimeoutMs) {
      this.#requestTimer = setTimeout(() => this.#timeout('request timeout'), rule.requestTimeoutMs);
    }
    this.#next();
  }

  #newFilters(): RequestFilters {
    const { destination } = this;
    return new RequestFilters({
      head: this.#head,
      client: this.client,
      authorization: this.#authorization,
      port: destination.kind === 'service' ? destination.port : destination.dialed.port,
      mergeSlashes: this.context.mergeSlashes,
      mirror: (backend) => (this.#mirrors ??= new Mirrors()).add(this.#mirror(backend)),
    });
  }

  /** Applies filters to the request. False: a filter responded. */
  #filterRequest(filters: readonly RouteFilter[]): boolean {
    const response = this.#filters?.apply(filters, this.#route.matched?.prefix);
    if (response?.kind === 'respond') this.#respond(response.head);
    else if (response) this.#refuse(response.refusal);
    return !response;
  }

  #mirror(backend: BackendTarget): Mirror {
    return new Mirror(this.context, this.client, backend, {
      isHttp2: this.downstream.version === 'HTTP/2',
      isGrpc: this.#isGrpc,
      asked: () => this.#authorization.originalAttributes(),
    });
  }

  /** Starts an attempt at the endpoint that is best now. */
  #next(): void {
    const endpoints = this.#candidates();
    if (!endpoints) return;
    const endpoint =
      (this.#attempts.isFirst ? this.#route.sessionEndpoint() : undefined) ??
      this.#attempts.choose(endpoints);
    const { sent } = this.#route;
    if (!endpoint)
      return this.#refuse(this.#lastFailure ?? noHealthyEndpoint(sent?.service ?? 'the workload'));
    const refusal = this.#authorization.ofEndpoint(endpoint, sent);
    if (refusal) return this.#refuse(refusal);
    this.#connect(endpoint);
  }

  /** The endpoints that the request may go to. Undefined: there is no such backend, or a filter responded; the response was sent. */
  #candidates(): readonly Endpoint[] | undefined {
    const backend = this.#route.chooseBackend();
    if (backend && backend.filters.length > 0 && !this.#filterRequest(backend.filters)) return undefined;
    const endpoints = this.#route.endpoints();
    if (typeof endpoints !== 'string') return endpoints;
    this.#refuse(invalidBackend(endpoints));
    return undefined;
  }

  #connect(endpoint: Endpoint, fresh = false): void {
    const { context, downstream } = this;
    const attempts = this.#attempts;
    const attempt = attempts.begin(endpoint);
    // Until there is a connection, further bytes would have to be buffered without bound.
    if (downstream.hasBody && !this.#requestEnded) downstream.pause();
    const timeoutMs = this.#route.rule?.backendRequestTimeoutMs;
    if (timeoutMs) {
      attempts.limit(timeoutMs, () =>
        this.onError({ kind: 'timeout', why: "timeout of the endpoint's response" }),
      );
    }
    context.pool.acquire(endpoint, this.client, this.#versionOf(endpoint), fresh, (upstream, failure) => {
      if (this.#over || !attempts.isCurrent(attempt)) return void upstream?.cancel();
      if (!upstream) return this.onError(failure ?? { kind: 'connect', why: 'no connection' });
      attempts.upstream = upstream;
      upstream.listener = this;
      const hasBody = downstream.hasBody;
      upstream.send(this.#head, hasBody, downstream.upgrade);
      this.#mirrors?.begin(this.#head, hasBody);
      if (!hasBody) return;
      for (const bytes of this.#replay.buffers) upstream.write(bytes);
      if (this.#requestEnded) upstream.end(this.#requestTrailers);
      else downstream.resume();
    });
  }

  #versionOf(endpoint: Endpoint): HttpVersion {
    if (this.downstream.upgrade !== undefined) return 'http1';
    return versionOf(endpoint, this.downstream.version === 'HTTP/2', this.#isGrpc);
  }

  get #isGrpc(): boolean {
    return this.downstream.version === 'HTTP/2' && isGrpcType(headerOf(this.#head.headers, 'content-type'));
  }

  // --- mesh updates --------------------------------------------------------------------------------------------------------

  /** Whether a mesh update affects this request's authorization or routing. */
  isAffected(impact: ChangeImpact): boolean {
    const { destination } = this;
    const { endpoint } = this.#attempts;
    return (
      impact.destination(destination) ||
      (endpoint !== undefined && impact.endpoint(endpoint, this.#route.sent)) ||
      this.#mirrors?.isAffected(impact) === true
    );
  }

  /** Authorizes the request again after a mesh update, and ends it if it is no longer allowed. */
  recheck(): void {
    if (this.#over) return;
    this.#mirrors?.recheck();
    const refusal = this.#authorization.recheck(
      this.#attempts.endpoint,
      this.#route.sent,
      this.#responseStarted,
    );
    if (refusal) this.#endNow(refusal);
  }

  /** A response that has begun is aborted, since a partial response must not look complete. */
  #endNow(refusal: LocalReply): void {
    if (!this.#responseStarted) return this.#refuse(refusal);
    this.#info.fail(refusal);
    this.downstream.abort();
    this.#finish();
  }

  // --- the client's side -----------------------------------------------------------------------------------------------

  onData(bytes: Buffer): void {
    this.#idle.bodyMoved(performance.now());
    this.#info.bytesReceived += bytes.length;
    if (this.#over) return;
    const { upstream } = this.#attempts;
    if (!this.#upgraded && !this.#responseStarted) this.#replay.add(bytes, upstream !== undefined);
    // Bytes after an upgrade are no part of the request.
    if (!this.#upgraded) this.#mirrors?.write(bytes);
    if (upstream && !upstream.write(bytes)) this.downstream.pause();
  }

  onEnd(trailers: Headers | undefined): void {
    this.#idle.moved(performance.now());
    this.#requestEnded = true;
    this.#requestTrailers = trailers;
    if (this.#over) return;
    if (!this.#upgraded) this.#mirrors?.end(trailers);
    this.#attempts.upstream?.end(trailers);
    if (this.#responseEnded) this.#finish(true);
  }

  onDrain(): void {
    this.#idle.moved(performance.now());
    if (!this.#over) this.#attempts.upstream?.resume();
  }
  onGone(how: ClientEnd, why: string): void {
    if (this.#over) return;
    this.#info.flag = how === 'left' ? 'DC' : 'DPE';
    this.#info.why = why;
    if (how === 'left') return this.#finish();
    this.#attempts.cancelUpstream();
    if (!this.#responseStarted) return this.#respond({ status: how === 'late' ? 408 : 400, headers: [] });
    this.downstream.abort();
    this.#finish();
  }

  // --- the endpoint's side ---------------------------------------------------------------------------------------------

  onInterim(head: ResponseHead): void {
    // The client may have waited for this response (100) before it sent its body.
    this.#idle.bodyMoved(performance.now());
    if (!this.#over && !this.#responseStarted) this.downstream.interim(head);
  }

  onHead(head: ResponseHead, hasBody: boolean): void {
    this.#idle.moved(performance.now());
    if (this.#over) return;
    // The attempt's timeout keeps running: it bounds the whole response (GEP-1742).
    if (this.#retryForStatus(head.status, hasBody)) return;
    this.#replay.clear();
    this.#filterResponse(head);
    this.#addSession(head);
    this.#responseStarted = true;
    this.#info.status = head.status;
    this.#info.grpcStatus = headerOf(head.headers, 'grpc-status');
    this.downstream.respond(head, hasBody);
    if (!hasBody) this.#finish(true);
  }

  onUpgraded(head: ResponseHead): void {
    this.#idle.moved(performance.now());
    if (this.#over) return;
    this.#attempts.clearLimit();
    // The rule's timeout is for the request; an upgraded connection has none.
    clearTimeout(this.#requestTimer);
    this.#upgraded = true;
    // The client's direction now has its own end.
    this.#requestEnded = false;
    this.#responseStarted = true;
    this.#info.status = 101;
    this.#filterResponse(head);
    this.#addSession(head);
    this.downstream.respond(head, false);
    this.downstream.upgraded();
  }

  onResponseData(bytes: Buffer): void {
    this.#idle.moved(performance.now());
    if (this.#over) return;
    this.#info.bytesSent += bytes.length;
    if (!this.downstream.write(bytes)) this.#attempts.upstream?.pause();
  }

  onResponseEnd(trailers: Headers | undefined): void {
    if (this.#over) return;
    if (trailers) this.#info.grpcStatus = headerOf(trailers, 'grpc-status') ?? this.#info.grpcStatus;
    this.downstream.end(trailers);
    // Each direction of an upgraded connection ends by itself.
    if (!this.#upgraded || this.#requestEnded) this.#finish(true);
    else this.#responseEnded = true;
  }

  onUpstreamDrain(): void {
    this.#idle.moved(performance.now());
    if (!this.#over) this.downstream.resume();
  }

  onError(failure: UpstreamFailure): void {
    if (this.#over) return;
    this.#attempts.clearLimit();
    const refusal = localReplyOf(failure);
    if (this.#responseStarted) return this.#endNow(refusal);
    this.#lastFailure = refusal;
    const execution = executionOf(failure, this.#attempts.upstream !== undefined);
    this.#attempts.cancelUpstream();
    const ofConnection = failure.kind === 'refused' || failure.kind === 'stale';
    const next = this.#after({ method: this.#head.method, execution }, ofConnection);
    if (this.#over || this.#goesOn(next)) return;
    this.#refuse(next.kind === 'none' && next.usedUp ? { ...refusal, flag: 'URX' } : refusal);
  }

  // --- retries -----------------------------------------------------------------------------------------------------------

  #after(failed: FailedAttempt, ofConnection: boolean): Next {
    const { endpoint } = this.#attempts;
    const endpoints = endpoint && this.#candidates();
    return endpoints
      ? this.#attempts.after(failed, endpoint, ofConnection, endpoints)
      : { kind: 'none', usedUp: false };
  }

  /** True: another attempt has started or is scheduled. */
  #goesOn(next: Next): boolean {
    const { endpoint } = this.#attempts;
    if (next.kind === 'none' || !endpoint || !this.#canReplay()) return false;
    if (next.kind === 'fresh') this.#connect(endpoint, true);
    else this.#again(next.inMs);
    return true;
  }

  #retryForStatus(status: number, hasBody: boolean): boolean {
    if (this.#attempts.retry?.codes.includes(status) !== true) return false;
    const next = this.#after({ method: this.#head.method, execution: 'responded', status }, false);
    if (this.#over) return true;
    if (next.kind === 'none') {
      if (next.usedUp) this.#info.flag = 'URX';
      return false;
    }
    if (!this.#canReplay()) return false;
    const attempts = this.#attempts;
    attempts.clearLimit();
    const { upstream } = attempts;
    attempts.upstream = undefined;
    if (upstream) {
      // After a response without a body the connection can serve further requests.
      if (hasBody || !this.#requestEnded) upstream.cancel();
      else upstream.listener = undefined;
    }
    return this.#goesOn(next);
  }

  /** Whether the body so far is in the replay buffer. Called only if nothing else prevents a retry, because it counts the reached limit. */
  #canReplay(): boolean {
    if (!this.#replay.isWhole) this.context.onLimitReached('retry-buffer');
    return this.#replay.isWhole;
  }

  #again(inMs: number): void {
    this.#attempts.leave();
    if (inMs === 0) return this.#next();
    // There is no upstream during the backoff: all that the client sends would have to be buffered.
    if (!this.#requestEnded) this.downstream.pause();
    this.#attempts.backOff(inMs, () => this.#next());
  }

  #timeout(why: string): void {
    if (this.#over) return;
    this.#info.flag = 'UT';
    if (this.#responseStarted) {
      this.#info.why = why;
      this.downstream.abort();
      return this.#finish();
    }
    this.#refuse({ status: 504, flag: 'UT', code: 'WEFT_REQUEST_TIMEOUT', why });
  }

  /** Ends the request if an idle timeout has expired. Called periodically. `nowMs`: by the monotonic clock. */
  checkIdle(nowMs: number): void {
    if (this.#over) return;
    const hasBegun = this.#responseStarted;
    const { isPaused } = this.downstream;
    const phase = { awaitsBody: !this.#requestEnded && !hasBegun, isPaused, hasBegun, isGrpc: this.#isGrpc };
    const { rule, isConsumerRoute } = this.#route;
    const timeouts = idleTimeoutsOf(this.context.limits, this.#route.policy(), rule, isConsumerRoute);
    const overdue = this.#idle.overdue(nowMs, phase, timeouts);
    if (overdue === 'body') this.onGone('late', "idle timeout of the request's body");
    else if (overdue === 'stream') this.#timeout('idle timeout of the stream');
  }

  // --- the end ---------------------------------------------------------------------------------------------------------

  #filterResponse(head: ResponseHead): void {
    const { rule, backend } = this.#route;
    if (rule) this.#filters?.applyToResponse(head, backend?.filters ?? none, rule.filters);
  }

  #addSession(head: ResponseHead): void {
    const { endpoint } = this.#attempts;
    if (endpoint) this.#route.addSession(head, endpoint);
  }

  /** Sends the waypoint's own response. The client does not learn the reason. */
  #refuse(reply: LocalReply): void {
    if (this.#over) return;
    this.#info.fail(reply);
    const head = localReplyHead(reply, this.#isGrpc);
    this.#info.grpcStatus = headerOf(head.headers, 'grpc-status');
    this.#respond(head);
  }

  #respond(head: ResponseHead): void {
    this.#attempts.cancelUpstream();
    this.#filterResponse(head);
    this.#responseStarted = true;
    this.#info.status = head.status;
    this.downstream.respond(head, false);
    this.#finish();
  }

  /** `whole`: the response is complete. */
  #finish(whole = false): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#requestTimer);
    const attempts = this.#attempts;
    attempts.clearTimers();
    const { endpoint, upstream } = attempts;
    attempts.upstream = undefined;
    // After a complete response, only a request that is still being sent has to be canceled.
    if (upstream && (!whole || !this.#requestEnded)) upstream.cancel();
    if (!this.#requestEnded && !this.#upgraded) this.#mirrors?.cancel();
    attempts.leaveEndpoint();
    this.#replay.clear();
    this.downstream.listener = undefined;
    const { context } = this;
    context.exchanges.delete(this);
    if (this.#hasShare) context.requestShares.release(this.client.name, this.client.group);
    const info = this.#info;
    info.attempts = attempts.count;
    info.end(endpoint, this.#authorization.verdict, this.#isGrpc, performance.now() - this.#startedMs);
    if (this.#span) context.tracing?.end(this.#span, info);
    context.onRequestEnd(info);
  }
}

const none: readonly never[] = [];
