/**
 * One request, from its head to the end of its response. Read the file from `start` downwards: the filters of the Service port, the route's
 * rule and its filters, the backend and its filters; then the router (router.ts) sends the request to an endpoint. Below that: events of the
 * client, the response, and the end.
 */
import { performance } from 'node:perf_hooks';
import type { Span } from '@opentelemetry/api';
import { formatSocketAddress } from '../../model/address.js';
import type { BackendTarget } from '../../model/route.js';
import { demandedElsewhere, filtersIn } from '../authorization/demanded.js';
import type { ServicePort } from '../authorization/reachable.js';
import { RequestAuthorization } from '../authorization/request-authorization.js';
import { listOf, type FilterList, type PortChain } from '../filters/chain.js';
import type { FilterResponse } from '../filters/filter.js';
import { addForwarding } from '../filters/forwarding-headers.js';
import { isGrpcType } from '../http/grpc.js';
import type { FieldNames } from '../http/field-names.js';
import { grpcTimeoutMs } from '../http/grpc-timeout.js';
import { headerOf, removeHeader, type Headers } from '../http/headers.js';
import type {
  ClientEnd,
  Downstream,
  DownstreamListener,
  RequestHead,
  ResponseHead,
} from '../http/http-stream.js';
import {
  deadlineReplies,
  localReplyHead,
  noRoute,
  timeoutReply,
  type LocalReply,
} from '../http/local-reply.js';
import type { Client } from '../listener/client.js';
import { servicePortOf, type Destination } from '../listener/destination.js';
import { RouteSelection } from '../routes/route-selection.js';
import { policyNameOf, type RequestSettings } from '../state/request-settings.js';
import { RequestInfo } from '../telemetry/request-info.js';
import type { ResponseFlag, TrafficAction } from '../telemetry/request-record.js';
import type { Cluster } from '../cluster/cluster.js';
import type { HttpVersion } from '../cluster/http-version.js';
import { Mirror, Mirrors } from '../upstream/mirror.js';
import type { ActiveRequest, RequestContext } from '../worker/context.js';
import { BodyReader, type BufferedBody } from './body-reader.js';
import { Deadlines, deadlinesOf, type Deadline } from './deadlines.js';
import { FilterRun, type FilteredExchange } from './filter-run.js';
import { IdleClock, idleTimeoutsOf } from './idle-timeouts.js';
import { report } from './retry-report.js';
import type { RoutedRequest } from './routed-request.js';
import { Router } from './router.js';

export class Exchange implements DownstreamListener, FilteredExchange, RoutedRequest, ActiveRequest {
  readonly #startedMs = performance.now();
  readonly idle = new IdleClock(this.#startedMs);
  readonly info: RequestInfo;
  readonly authorization: RequestAuthorization;
  readonly route: RouteSelection;
  readonly servicePort: ServicePort | undefined;
  mirrors: Mirrors | undefined;
  slots: unknown[] | undefined;
  readonly #head: RequestHead;
  /** The settings of the Service port, as they were when the request arrived. */
  readonly settings: RequestSettings;
  readonly #port: PortChain;
  readonly #filters = new FilterRun(this);
  readonly #router: Router;
  /** Undefined: no filter has read the body. */
  #bodyReader: BodyReader | undefined;
  /** Undefined: no timeout applies to the request. */
  #deadlines: Deadlines | undefined;
  /** The client's grpc-timeout, if the waypoint acts on it. */
  #grpcMs: number | undefined;
  #notInTrailers: readonly Pick<FieldNames, 'removeFrom'>[] = [];
  #afterRule: readonly (() => void)[] = [];
  /** The index in the context's exchanges (IntrusiveSet). */
  slot = -1;
  /** The request has reached the filters of the Service port that it is sent to. */
  #demanded = false;
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
    this.authorization = new RequestAuthorization(
      context.state,
      client,
      destination,
      downstream.head,
      context.trustedProxies,
    );
    const { state, clusters } = context;
    const asked = (this.servicePort = servicePortOf(destination));
    this.settings = asked
      ? state.requestSettings(asked.service, asked.port, client)
      : state.settingsWithoutService;
    this.route = new RouteSelection(state, clusters, client, destination, downstream.head, this.settings);
    this.#port = this.settings.chain;
    this.#router = new Router(this);
    downstream.listener = this;
  }

  start(): void {
    this.context.exchanges.add(this);
    this.#filters.enter(this.#port.shedding);
  }

  /** All filters of a list have let the request go on: its next step. */
  onPassed(list: FilterList): void {
    if (list === this.#port.shedding) return this.#admitted();
    if (list === this.#port.list) return this.#matchRoute();
    if (list === this.route.matched?.chain.list) return this.#chooseBackend(list);
    this.#demand(list);
  }

  #admitted(): void {
    const { context, downstream, destination } = this;
    const head = this.#head;
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
    this.#filters.enter(this.#port.list);
  }

  #matchRoute(): void {
    if (!this.route.match()) return this.#refuse(noRoute);
    const { matched } = this.route;
    this.info.route = matched?.label;
    this.#startDeadlines();
    if (this.#over) return;
    this.#filters.enter(matched ? matched.chain.list : this.#port.withoutRoute);
  }

  /** The time in which filters were pending counts. */
  #startDeadlines(): void {
    const { rule, isConsumerRoute } = this.route;
    const { timeouts, retry } = this.settings;
    if (!rule?.requestTimeoutMs && !timeouts && !retry) return;
    // Without a policy the field is passed on as it is: the client itself ends the request.
    if ((retry !== undefined || timeouts?.dryRun === false) && this.isGrpc) {
      const asked = headerOf(this.#head.headers, 'grpc-timeout');
      this.#grpcMs = asked === undefined ? undefined : grpcTimeoutMs(asked);
    }
    const all = deadlinesOf({ rule, ofConsumer: isConsumerRoute, timeouts, grpcMs: this.#grpcMs });
    if (all.length === 0) return;
    this.#deadlines = new Deadlines(all, this.#startedMs, (deadline) => this.#onDeadline(deadline));
    this.#deadlines.start();
  }

  #chooseBackend(passed: FilterList): void {
    const backend = this.route.chooseBackend();
    const list = backend && this.route.matched?.chain.backends.get(backend);
    if (list) this.#filters.enter(list);
    else this.#demand(passed);
  }

  /** The filters of the Service port that the request is sent to, if it is not the one that the client dialed. */
  #demand(passed: FilterList): void {
    if (this.#demanded) return this.#router.start();
    const { route, context } = this;
    const { target } = route.backend ?? {};
    if (route.changedBy !== undefined && route.isConsumerRoute)
      for (const restore of this.#afterRule) restore();
    const cluster = context.state.hasDemands ? route.cluster() : undefined;
    const demanded = this.#demandedAt(target, typeof cluster === 'string' ? undefined : cluster);
    if (demanded.length === 0) return this.#router.start();
    this.#demanded = true;
    this.#filters.enter(listOf(filtersIn(demanded), passed));
  }

  #demandedAt(target: BackendTarget | undefined, cluster: Cluster | undefined) {
    const { client, context, destination, route } = this;
    return demandedElsewhere(context.state, client, destination, target, cluster, route.changedBy);
  }

  /** A filter responds in the endpoint's place. */
  onFilterResponse(response: FilterResponse): void {
    if (response.kind === 'reply') this.#refuse(response.reply);
    else if (response.kind === 'reset') this.#reset(response.reply);
    else this.#respond(response.head, response.body);
  }

  /** A filter's promise is pending: further bytes of the body would have to be buffered without bound. */
  onSuspended(): void {
    if (this.#bodyReader?.isReading === true) return;
    if (this.downstream.hasBody && !this.#router.requestEnded) this.downstream.pause();
  }

  bufferBody(bytesMax: number): Promise<BufferedBody> {
    const { downstream, context, client } = this;
    const { headers } = downstream.head;
    const router = this.#router;
    const { bodyShares } = context.externalAuthorization ?? {};
    if (!bodyShares) throw new Error('this process buffers no bodies');
    const reader = (this.#bodyReader ??= new BodyReader(
      bodyShares,
      client,
      () => router.buffered,
      () => context.onLimitReached('external-authorization-bodies'),
    ));
    const read = reader.read(bytesMax, router.requestEnded);
    if (!reader.isReading) return read;
    if (headerOf(headers, 'expect')?.toLowerCase() === '100-continue') {
      // The client sends the body only then. The endpoint must not be asked again.
      this.authorization.saveHeaders();
      removeHeader(headers, 'expect');
      downstream.interim({ status: 100, headers: [] });
    }
    // Not at once: the bytes that are there already would arrive before the filter has returned.
    queueMicrotask(() => {
      if (!this.#over && reader.isReading) downstream.resume();
    });
    return read;
  }

  isExternalAuthorizationDisabled(): boolean {
    // The filters of a rule, and of a Service port that the client did not dial, hold for all requests.
    return this.route.matched === undefined && !this.#demanded && this.route.disablesExternalAuthorization();
  }

  act(action: TrafficAction): void {
    this.info.act(action);
    this.context.onAction(action, this.info.serviceNamespace);
  }

  forbidTrailers(names: Pick<FieldNames, 'removeFrom'>): void {
    names.removeFrom(this.#router.requestTrailers ?? []);
    this.#notInTrailers = [...this.#notInTrailers, names];
  }

  afterConsumerRule(restore: () => void): void {
    this.#afterRule = [...this.#afterRule, restore];
  }

  mirror(target: BackendTarget): void {
    const cluster =
      target.kind === 'service' ? this.context.clusters.ofService(target.service, target.port) : undefined;
    // A copy cannot wait for its own decision.
    const demanded = this.#demandedAt(target, cluster);
    if (demanded.some(({ unproven }) => !unproven)) return this.context.onMirrorEnd('denied');
    const mirror = new Mirror(this.context, this.client, target, {
      isHttp2: this.downstream.version === 'HTTP/2',
      isGrpc: this.isGrpc,
      asked: () => this.authorization.originalAttributes(),
      unproven: demanded.flatMap(({ unproven }) => unproven?.of(this) ?? []),
    });
    (this.mirrors ??= new Mirrors()).add(mirror);
    // What a filter has buffered was not sent to a mirror yet.
    for (const bytes of this.#router.buffered) mirror.write(bytes);
    if (this.downstream.hasBody && this.#router.requestEnded) mirror.end(this.#router.requestTrailers);
  }

  get dialedPort(): number {
    const { destination } = this;
    return destination.kind === 'service' ? destination.port : destination.dialed.port;
  }

  get routeLabel(): string | undefined {
    return this.route.matched?.label;
  }

  get matchedPrefix(): string | undefined {
    return this.route.matched?.prefix;
  }

  get upstreamVersion(): HttpVersion | undefined {
    return this.#router.responseVersion;
  }

  get flag(): ResponseFlag | undefined {
    return this.info.flag;
  }

  get isGrpc(): boolean {
    return this.downstream.version === 'HTTP/2' && isGrpcType(headerOf(this.#head.headers, 'content-type'));
  }

  // --- mesh updates --------------------------------------------------------------------------------------------------------

  /** Authorizes the request again after a mesh update, and ends it if it is no longer allowed. */
  recheck(): void {
    if (this.#over) return;
    const refusal = this.#router.recheck();
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
    this.#bodyReader?.add(bytes, () => this.downstream.pause());
  }

  onEnd(trailers: Headers | undefined): void {
    this.idle.moved(performance.now());
    if (trailers) for (const names of this.#notInTrailers) names.removeFrom(trailers);
    if (!this.#over && !this.#router.isUpgraded) this.mirrors?.end(trailers);
    this.#router.end(trailers);
    this.#bodyReader?.end();
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
    const failed = this.#filters.onResponse(head);
    if (failed) return this.#refuse(failed);
    this.#bodyReader?.release();
    this.#addSession(head);
    this.#responseStarted = true;
    this.info.status = head.status;
    this.info.grpcStatus = headerOf(head.headers, 'grpc-status');
    this.downstream.respond(head, hasBody);
    if (!hasBody) this.#finish(true);
  }

  onUpgraded(head: ResponseHead): void {
    // The rule's timeout is for the request; an upgraded connection has none.
    this.#deadlines?.upgraded();
    if (this.#over) return;
    const failed = this.#filters.onResponse(head);
    if (failed) return this.#refuse(failed);
    this.#responseStarted = true;
    this.info.status = 101;
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
    if (this.#responseStarted) this.#reset(reply);
    else this.#refuse(reply);
  }

  // --- timeouts ----------------------------------------------------------------------------------------------------------

  leftMs(nowMs: number): number {
    return this.#deadlines?.leftMs(nowMs) ?? Infinity;
  }

  get hasGrpcDeadline(): boolean {
    return this.#grpcMs !== undefined;
  }

  grpcLeftMs(nowMs: number): number | undefined {
    return this.#grpcMs === undefined ? undefined : this.leftMs(nowMs);
  }

  #onDeadline({ kind, isDryRun }: Deadline): void {
    if (this.#over) return;
    if (kind === 'policy' || kind === 'duration') {
      const policy = policyNameOf(this.settings, 'timeouts');
      this.act({ feature: 'timeout', mode: isDryRun ? 'would' : 'did', policy });
    }
    if (isDryRun) return;
    const { attempt } = this.#router;
    if (attempt) report(this, kind === 'duration' ? 'maxDurationReached' : 'timeout', attempt);
    this.#timeout(deadlineReplies[kind], kind === 'grpc');
  }

  #timeout(reply: LocalReply, ofClient = false): void {
    if (this.#over) return;
    this.#router.reportTimeout(ofClient);
    this.info.flag = reply.flag;
    if (this.#responseStarted) {
      this.info.why = reply.why;
      this.downstream.abort();
      return this.#finish();
    }
    this.#refuse(reply);
  }

  /** Ends the request if an idle timeout has expired. Called periodically. `nowMs`: by the monotonic clock. */
  checkIdle(nowMs: number): void {
    if (this.#over) return;
    const hasBegun = this.#responseStarted;
    const awaitsBody = !this.#router.requestEnded && !hasBegun;
    const phase = { awaitsBody, isPaused: this.downstream.isPaused, hasBegun, isGrpc: this.isGrpc };
    const { rule, isConsumerRoute } = this.route;
    const timeouts = idleTimeoutsOf(this.context.limits, this.route.policy(), rule, isConsumerRoute);
    const overdue = this.idle.overdue(nowMs, phase, timeouts);
    if (overdue === 'body') this.onGone('late', "idle timeout of the request's body");
    else if (overdue === 'stream') this.#timeout(timeoutReply('idle timeout of the stream'));
  }

  // --- the end ---------------------------------------------------------------------------------------------------------

  #addSession(head: ResponseHead): void {
    const endpoint = this.#router.attempt?.endpoint;
    if (!endpoint) return;
    this.route.addSession(head, endpoint);
    this.#router.addCookie(head);
  }

  /** Sends the waypoint's own response. The client does not learn the reason. */
  #refuse(reply: LocalReply): void {
    if (this.#over) return;
    this.info.fail(reply);
    const head = localReplyHead(reply, this.isGrpc);
    this.info.grpcStatus = headerOf(head.headers, 'grpc-status');
    const { body } = reply;
    this.#respond(head, this.isGrpc || this.#head.method === 'HEAD' ? undefined : body);
  }

  /** Ends the request without a response, or without the rest of it. */
  #reset(reply: LocalReply): void {
    if (this.#over) return;
    this.info.fail(reply);
    this.downstream.abort();
    this.#finish();
  }

  #respond(head: ResponseHead, body?: Buffer): void {
    this.#router.cancel();
    const failed = this.#filters.onResponse(head);
    if (failed) return this.#refuse(failed);
    this.#responseStarted = true;
    this.info.status = head.status;
    this.downstream.respond(head, body !== undefined);
    if (body) {
      this.info.bytesSent += body.length;
      this.downstream.write(body);
      this.downstream.end();
    }
    this.#finish();
  }

  /** `whole`: the response is complete. */
  #finish(whole = false): void {
    if (this.#over) return;
    this.#over = true;
    this.#deadlines?.end();
    this.#bodyReader?.release();
    const { attempt, attempts, requestEnded, isUpgraded } = this.#router;
    this.#router.finish(whole);
    this.mirrors?.requestOver(requestEnded || isUpgraded);
    this.downstream.listener = undefined;
    const { context, info } = this;
    context.exchanges.delete(this);
    const failed = this.#filters.end();
    if (failed && info.flag === undefined) info.fail(failed);
    info.attempts = attempts;
    info.end(attempt?.endpoint, this.authorization.verdict, this.isGrpc, performance.now() - this.#startedMs);
    if (this.#span) info.trace = context.tracing?.end(this.#span, info);
    info.onceDecided(() => context.onRequestEnd(info));
  }
}
