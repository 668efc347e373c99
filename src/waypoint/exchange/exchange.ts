/**
 * One request, from its head to the end of its response. Read the file from `start` downwards: limits, the Service's policies, the route's
 * rule, filters; then the router (router.ts) sends the request to an endpoint. Below that: events of the client, the response, and the end.
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
} from '../http/http-stream.js';
import { localReplyHead, noRoute, requestLimitReply, type LocalReply } from '../http/local-reply.js';
import type { Client } from '../listener/client.js';
import type { Destination } from '../listener/destination.js';
import { RouteSelection } from '../routes/route-selection.js';
import { RequestInfo } from '../telemetry/request-info.js';
import { Mirror, Mirrors } from '../upstream/mirror.js';
import type { ActiveRequest, RequestContext } from '../worker/context.js';
import { IdleClock, idleTimeoutsOf } from './idle-timeouts.js';
import { Router, type RoutedRequest } from './router.js';

export class Exchange implements DownstreamListener, RoutedRequest, ActiveRequest {
  readonly #startedMs = performance.now();
  readonly idle = new IdleClock(this.#startedMs);
  readonly info: RequestInfo;
  readonly authorization: RequestAuthorization;
  readonly route: RouteSelection;
  mirrors: Mirrors | undefined;
  readonly #head: RequestHead;
  readonly #router: Router;
  #requestTimer: NodeJS.Timeout | undefined;
  #filters: RequestFilters | undefined;
  /** The index in the context's exchanges (IntrusiveSet). */
  slot = -1;
  #hasShare = false;
  #responseStarted = false;
  #responseEnded = false;
  #over = false;
  #span: Span | undefined;

  constructor(
    readonly context: RequestContext,
    readonly client: Client,
    readonly destination: Destination,
    readonly downstream: Downstream,
  ) {
    this.#head = downstream.head;
    this.info = new RequestInfo(client, destination, downstream, this.#startedMs);
    this.authorization = new RequestAuthorization(context.state, client, destination, downstream.head);
    this.route = new RouteSelection(context.state, context.clusters, client, destination, downstream.head);
    this.#router = new Router(this);
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
    this.authorization.authority = this.info.authority = head.authority;
    addForwarding(head.headers, this.client);
    this.#span = context.tracing?.begin(head);

    const refusal = this.authorization.ofService();
    if (refusal) return this.#refuse(refusal);
    if (!this.route.match()) return this.#refuse(noRoute);
    const { rule } = this.route;
    if (!rule) return this.#router.start();
    this.info.route = this.route.matched?.label;
    this.#filters = this.#newFilters();
    if (!this.#filterRequest(rule.filters)) return;
    if (rule.requestTimeoutMs) {
      this.#requestTimer = setTimeout(() => this.#timeout('request timeout'), rule.requestTimeoutMs);
    }
    const backend = this.route.chooseBackend();
    if (backend && backend.filters.length > 0 && !this.#filterRequest(backend.filters)) return;
    this.#router.start();
  }

  #newFilters(): RequestFilters {
    const { destination } = this;
    return new RequestFilters({
      head: this.#head,
      client: this.client,
      authorization: this.authorization,
      port: destination.kind === 'service' ? destination.port : destination.dialed.port,
      mergeSlashes: this.context.mergeSlashes,
      mirror: (backend) => (this.mirrors ??= new Mirrors()).add(this.#mirror(backend)),
    });
  }

  /** Applies filters to the request. False: a filter responded. */
  #filterRequest(filters: readonly RouteFilter[]): boolean {
    const response = this.#filters?.apply(filters, this.route.matched?.prefix);
    if (response?.kind === 'respond') this.#respond(response.head);
    else if (response) this.#refuse(response.refusal);
    return !response;
  }

  #mirror(backend: BackendTarget): Mirror {
    return new Mirror(this.context, this.client, backend, {
      isHttp2: this.downstream.version === 'HTTP/2',
      isGrpc: this.isGrpc,
      asked: () => this.authorization.originalAttributes(),
    });
  }

  get isGrpc(): boolean {
    return this.downstream.version === 'HTTP/2' && isGrpcType(headerOf(this.#head.headers, 'content-type'));
  }

  // --- mesh updates --------------------------------------------------------------------------------------------------------

  /** Authorizes the request again after a mesh update, and ends it if it is no longer allowed. */
  recheck(): void {
    if (this.#over) return;
    const { endpoint } = this.#router;
    const refusal = this.authorization.recheck(endpoint, this.route.sent, this.#responseStarted);
    if (refusal) this.onFailed(refusal);
  }

  // --- the client's side -----------------------------------------------------------------------------------------------

  onData(bytes: Buffer): void {
    this.idle.bodyMoved(performance.now());
    this.info.bytesReceived += bytes.length;
    if (this.#over) return;
    // Bytes after an upgrade are no part of the request.
    if (!this.#router.isUpgraded) this.mirrors?.write(bytes);
    this.#router.write(bytes);
  }

  onEnd(trailers: Headers | undefined): void {
    this.idle.moved(performance.now());
    if (!this.#over && !this.#router.isUpgraded) this.mirrors?.end(trailers);
    this.#router.end(trailers);
    if (this.#responseEnded) this.#finish(true);
  }

  onDrain(): void {
    this.idle.moved(performance.now());
    if (!this.#over) this.#router.resume();
  }

  onGone(how: ClientEnd, why: string): void {
    if (this.#over) return;
    this.info.flag = how === 'left' ? 'DC' : 'DPE';
    this.info.why = why;
    if (how === 'left') return this.#finish();
    this.#router.cancel();
    if (!this.#responseStarted) return this.#respond({ status: how === 'late' ? 408 : 400, headers: [] });
    this.downstream.abort();
    this.#finish();
  }

  // --- the endpoint's response -----------------------------------------------------------------------------------------

  onInterim(head: ResponseHead): void {
    this.downstream.interim(head);
  }

  onResponse(head: ResponseHead, hasBody: boolean): void {
    this.#filterResponse(head);
    this.#addSession(head);
    this.#responseStarted = true;
    this.info.status = head.status;
    this.info.grpcStatus = headerOf(head.headers, 'grpc-status');
    this.downstream.respond(head, hasBody);
    if (!hasBody) this.#finish(true);
  }

  onUpgraded(head: ResponseHead): void {
    // The rule's timeout is for the request; an upgraded connection has none.
    clearTimeout(this.#requestTimer);
    this.#responseStarted = true;
    this.info.status = 101;
    this.#filterResponse(head);
    this.#addSession(head);
    this.downstream.respond(head, false);
    this.downstream.upgraded();
  }

  onResponseData(bytes: Buffer): void {
    this.info.bytesSent += bytes.length;
    if (!this.downstream.write(bytes)) this.#router.pause();
  }

  onResponseEnd(trailers: Headers | undefined): void {
    if (trailers) this.info.grpcStatus = headerOf(trailers, 'grpc-status') ?? this.info.grpcStatus;
    this.downstream.end(trailers);
    // Each direction of an upgraded connection ends by itself.
    if (!this.#router.isUpgraded || this.#router.requestEnded) this.#finish(true);
    else this.#responseEnded = true;
  }

  /** A response that has begun is aborted, since a partial response must not look complete. */
  onFailed(reply: LocalReply): void {
    if (!this.#responseStarted) return this.#refuse(reply);
    this.info.fail(reply);
    this.downstream.abort();
    this.#finish();
  }

  // --- timeouts ----------------------------------------------------------------------------------------------------------

  #timeout(why: string): void {
    if (this.#over) return;
    this.info.flag = 'UT';
    if (this.#responseStarted) {
      this.info.why = why;
      this.downstream.abort();
      return this.#finish();
    }
    this.#refuse({ status: 504, flag: 'UT', code: 'WEFT_REQUEST_TIMEOUT', why });
  }

  /** Ends the request if an idle timeout has expired. Called periodically. `nowMs`: by the monotonic clock. */
  checkIdle(nowMs: number): void {
    if (this.#over) return;
    const hasBegun = this.#responseStarted;
    const awaitsBody = !this.#router.requestEnded && !hasBegun;
    const phase = { awaitsBody, isPaused: this.downstream.isPaused, hasBegun, isGrpc: this.isGrpc };
    const timeouts = idleTimeoutsOf(this.context.limits, this.route.rule, this.route.isConsumerRoute);
    const overdue = this.idle.overdue(nowMs, phase, timeouts);
    if (overdue === 'body') this.onGone('late', "idle timeout of the request's body");
    else if (overdue === 'stream') this.#timeout('idle timeout of the stream');
  }

  // --- the end ---------------------------------------------------------------------------------------------------------

  #filterResponse(head: ResponseHead): void {
    const { rule, backend } = this.route;
    if (rule) this.#filters?.applyToResponse(head, backend?.filters ?? none, rule.filters);
  }

  #addSession(head: ResponseHead): void {
    const { endpoint } = this.#router;
    if (endpoint) this.route.addSession(head, endpoint);
  }

  /** Sends the waypoint's own response. The client does not learn the reason. */
  #refuse(reply: LocalReply): void {
    if (this.#over) return;
    this.info.fail(reply);
    const head = localReplyHead(reply, this.isGrpc);
    this.info.grpcStatus = headerOf(head.headers, 'grpc-status');
    this.#respond(head);
  }

  #respond(head: ResponseHead): void {
    this.#router.cancel();
    this.#filterResponse(head);
    this.#responseStarted = true;
    this.info.status = head.status;
    this.downstream.respond(head, false);
    this.#finish();
  }

  /** `whole`: the response is complete. */
  #finish(whole = false): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#requestTimer);
    const { endpoint, attempts, requestEnded, isUpgraded } = this.#router;
    this.#router.finish(whole);
    if (!requestEnded && !isUpgraded) this.mirrors?.cancel();
    this.downstream.listener = undefined;
    const { context, info } = this;
    context.exchanges.delete(this);
    if (this.#hasShare) context.requestShares.release(this.client.name, this.client.group);
    info.attempts = attempts;
    info.end(endpoint, this.authorization.verdict, this.isGrpc, performance.now() - this.#startedMs);
    if (this.#span) context.tracing?.end(this.#span, info);
    context.onRequestEnd(info);
  }
}

const none: readonly never[] = [];
