/**
 * One request, from its head to the end of its answer: route, policy, filters, endpoint, and what is tried again. Read it
 * from `start` downwards.
 */
import { performance } from 'node:perf_hooks';
import type { Span } from '@opentelemetry/api';
import type { FairLimit } from '../base/fair-limit.js';
import { formatSocketAddress } from '../model/address.js';
import type { BackendTarget, RouteBackend, RouteFilter, RouteRule } from '../model/route.js';
import { denialReason, type Verdict } from '../policy/authorize.js';
import { Attempts, type Next } from './attempts.js';
import { chooseBackend } from './balance.js';
import type { Client } from './client.js';
import { addForwarding } from './forwarding.js';
import { executionOf, type FailedAttempt } from './repeat.js';
import { ReplayBuffer } from './replay-buffer.js';
import { versionOf } from './attributes.js';
import { RequestAuthorization } from './authorization.js';
import { notServed, sentOf, unknownService, type Destination } from './destination.js';
import type { WaypointLimit, WaypointLimits } from './limits.js';
import {
  headerOf,
  type ClientEnd,
  type Downstream,
  type DownstreamListener,
  type Headers,
  type RequestHead,
  type ResponseHead,
  type Upstream,
  type UpstreamFailure,
  type UpstreamListener,
} from './message.js';
import type { RequestRecord, ResponseFlag } from './record.js';
import type { Matched } from './routes/compile.js';
import { isGrpcType } from './grpc.js';
import { IdleClock, idleTimeoutsOf } from './idle.js';
import { Mirror, Mirrors, type MirrorResult } from './mirror.js';
import { grpcStatusOf, noEndpoint, refusalOf, type Refusal } from './refusal.js';
import { RequestFilters } from './request-filters.js';
import { nameSession, sessionOf, type Session } from './session.js';
import type { Slots } from './slots.js';
import type { Sent } from './policy-groups.js';
import type { Endpoint, WaypointState } from './state.js';
import type { Touched } from './touched.js';
import type { Tracing } from './tracing.js';
import type { HttpVersion, UpstreamPool } from './upstream/pool.js';

export interface ProxyContext {
  readonly state: WaypointState;
  readonly pool: UpstreamPool;
  readonly limits: WaypointLimits;
  /** Slashes of paths that follow each other are made one. */
  readonly mergeSlashes: boolean;
  /** Undefined: nobody collects spans. */
  readonly tracing?: Tracing | undefined;
  /** Requests under way, for drains and idle clocks. */
  readonly exchanges: Slots<Exchange>;
  readonly requestShares: FairLimit;
  ended(record: RequestRecord): void;
  limitReached(limit: WaypointLimit): void;
  /** Mirrors under way: one may outlive its request. */
  readonly mirrors: FairLimit;
  /** What waits for mirrors, in blocks of MirrorBuffer. */
  readonly mirrorShares: FairLimit;
  /** What became of a copy of a request. */
  mirrored(result: MirrorResult): void;
}

export class Exchange implements DownstreamListener, UpstreamListener {
  readonly #startedMs = performance.now();
  readonly #idle = new IdleClock(this.#startedMs);
  readonly #head: RequestHead;
  readonly #authorization: RequestAuthorization;
  #matched: Matched | undefined;
  #backend: RouteBackend | undefined;
  #endpoint: Endpoint | undefined;
  /** The Service's port that the endpoint was chosen for. */
  #sent: Sent | undefined;
  readonly #repeats = new Attempts();
  /** Of the last attempt that failed: the response where no other endpoint is left. */
  #lastFailure: Refusal | undefined;
  #upstream: Upstream | undefined;
  /** Increased with each attempt and at its end: what belongs to a former one is not listened to. */
  #attempt = 0;
  #attempts = 0;
  #requestTimer: NodeJS.Timeout | undefined;
  #attemptTimer: NodeJS.Timeout | undefined;
  #backoffTimer: NodeJS.Timeout | undefined;
  #verdict: Verdict | undefined;
  #filters: RequestFilters | undefined;
  #mirrors: Mirrors | undefined;
  readonly #replay: ReplayBuffer;
  /** Its place among the context's exchanges, as Slots keeps it. */
  slot = -1;
  #hasShare = false;
  #requestEnded: boolean;
  #requestTrailers: Headers | undefined;
  #answered = false;
  #answerEnded = false;
  #upgraded = false;
  #over = false;
  #span: Span | undefined;
  #status = 0;
  #grpcStatus: string | undefined;
  #flag: ResponseFlag | undefined;
  #code: string | undefined;
  #why: string | undefined;
  #bytesReceived = 0;
  #bytesSent = 0;

  constructor(
    private readonly context: ProxyContext,
    private readonly client: Client,
    private readonly destination: Destination,
    private readonly downstream: Downstream,
  ) {
    this.#head = downstream.head;
    this.#authorization = new RequestAuthorization(context.state, client, destination, downstream.head);
    this.#requestEnded = !downstream.hasBody;
    this.#replay = new ReplayBuffer(context.limits.retryBufferBytesMax);
    downstream.listener = this;
  }

  start(): void {
    const { context, downstream, destination } = this;
    const head = this.#head;
    const reached = context.requestShares.take(this.client.name, this.client.group);
    if (reached !== undefined) {
      context.limitReached(reached === 'all' ? 'requests' : 'requests-per-client');
      const why =
        reached === 'all'
          ? `request limit reached (${context.limits.requestsMax})`
          : 'this client has as many requests under way as its share of the limit';
      return this.#refuse({ status: 503, flag: 'UO', code: 'WEFT_REQUESTS_FULL', why });
    }
    this.#hasShare = true;
    context.exchanges.add(this);
    if (downstream.hasBody) downstream.pause();
    if (head.authority === '') {
      head.authority =
        destination.kind === 'service'
          ? destination.service.hostname
          : formatSocketAddress(destination.dialled);
    }
    this.#authorization.authority = head.authority;
    addForwarding(head.headers, this.client);
    this.#span = context.tracing?.begin(head);

    if (!this.#isServed() || !this.#authorizeAsked()) return;
    const routing =
      destination.kind === 'service'
        ? context.state.routing(destination.service, destination.port, this.client.namespace)
        : undefined;
    if (routing === undefined || (routing.kind !== 'http' && routing.kind !== 'grpc')) return this.#next();
    this.#matched = routing.match(head);
    const rule = this.#matched?.rule;
    if (!rule) {
      return this.#refuse({
        status: 404,
        flag: 'NR',
        code: 'WEFT_NO_ROUTE',
        why: 'no rule of the routes matches',
      });
    }
    this.#repeats.retry = rule.retry;
    this.#filters = this.#newFilters();
    if (!this.#filterRequest(rule.filters)) return;
    if (rule.requestTimeoutMs) {
      this.#requestTimer = setTimeout(
        () => this.#timeout('the request took too long'),
        rule.requestTimeoutMs,
      );
    }
    this.#next();
  }

  #newFilters(): RequestFilters {
    const { destination } = this;
    return new RequestFilters({
      head: this.#head,
      client: this.client,
      authorization: this.#authorization,
      port: destination.kind === 'service' ? destination.port : destination.dialled.port,
      mergeSlashes: this.context.mergeSlashes,
      mirror: (backend) => (this.#mirrors ??= new Mirrors()).add(this.#mirror(backend)),
    });
  }

  /** False: it was answered here. */
  #filterRequest(filters: readonly RouteFilter[]): boolean {
    const response = this.#filters?.apply(filters, this.#matched?.prefix);
    if (response?.kind === 'respond') this.#answer(response.head);
    else if (response) this.#refuse(response.refusal);
    return !response;
  }

  #mirror(backend: BackendTarget): Mirror {
    return new Mirror(this.context, this.client, backend, {
      isHttp2: this.downstream.version === 'HTTP/2',
      isGrpc: this.#isGrpc,
      asked: () => this.#authorization.asked(),
    });
  }

  /** The next attempt, at the endpoint that is best now. */
  #next(): void {
    const endpoints = this.#candidates();
    if (!endpoints) return;
    const rule = this.#matched?.rule;
    const endpoint =
      (this.#repeats.isFirst ? rule && this.#persisted(rule)?.endpoint : undefined) ??
      this.#repeats.choose(endpoints);
    if (!endpoint)
      return this.#refuse(this.#lastFailure ?? noEndpoint(this.#sent?.service ?? 'the workload'));
    if (!this.#holds(this.#judge(endpoint))) return;
    this.#connect(endpoint);
  }

  /** The endpoints that the request may go to. Undefined: there is no such backend, and the request was refused. */
  #candidates(): readonly Endpoint[] | undefined {
    const { context, destination } = this;
    let sent = sentOf(destination);
    const rule = this.#matched?.rule;
    if (rule) {
      if (!this.#backend) {
        this.#backend = this.#persisted(rule)?.backend ?? chooseBackend(rule.backends, Math.random());
        if (this.#backend && this.#backend.filters.length > 0 && !this.#filterRequest(this.#backend.filters))
          return undefined;
      }
      const target = this.#backend?.target;
      if (target?.kind !== 'service') {
        this.#refuseBackend(target?.reason ?? 'the rule names no backend that takes requests');
        return undefined;
      }
      sent = target;
    }
    this.#sent = sent;
    if (destination.kind === 'workload' && !rule)
      return [context.state.endpointAt(destination.workload, destination.dialled)];
    const endpoints = sent && context.state.endpoints(sent.service, sent.port);
    if (!endpoints)
      this.#refuseBackend(`no Service ${sent?.service ?? ''} with port ${sent?.port ?? ''} is known`);
    return endpoints;
  }

  #refuseBackend(why: string): void {
    this.#refuse({ status: 500, flag: 'NC', code: 'WEFT_BACKEND_INVALID', why });
  }

  #connect(endpoint: Endpoint, fresh = false): void {
    const { context, downstream } = this;
    this.#leaveEndpoint();
    this.#endpoint = endpoint;
    endpoint.active++;
    const attempt = ++this.#attempt;
    this.#attempts++;
    // What comes until there is a connection would have to be kept without bound.
    if (downstream.hasBody && !this.#requestEnded) downstream.pause();
    const timeoutMs = this.#matched?.rule.backendRequestTimeoutMs;
    if (timeoutMs) {
      this.#attemptTimer = setTimeout(
        () => this.onError({ kind: 'timeout', why: 'the endpoint took too long to answer' }),
        timeoutMs,
      );
    }
    context.pool.acquire(endpoint, this.client, this.#versionOf(endpoint), fresh, (upstream, failure) => {
      if (this.#over || attempt !== this.#attempt) return void upstream?.cancel();
      if (!upstream) return this.onError(failure ?? { kind: 'connect', why: 'no connection' });
      this.#upstream = upstream;
      upstream.listener = this;
      const hasBody = downstream.hasBody;
      upstream.send(this.#head, hasBody, downstream.upgrade);
      this.#mirrors?.begin(this.#head, hasBody);
      if (!hasBody) return;
      for (const bytes of this.#replay.pieces) upstream.write(bytes);
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

  // --- policy -----------------------------------------------------------------------------------------------------------

  /** The Service that was asked is this waypoint's to carry, also on a connection that is older than a change of that. */
  #isServed(): boolean {
    const why = notServed(this.context.state, this.destination);
    if (why === undefined) return true;
    this.#refuse({ status: 503, flag: 'NC', code: 'WEFT_NOT_SERVED', why });
    return false;
  }

  /** The policies of the Service that was asked, for what the client asked. */
  #authorizeAsked(): boolean {
    const verdict = this.#authorization.ofService();
    return verdict === undefined || this.#holds(verdict);
  }

  #judge(endpoint: Endpoint): Verdict {
    return this.#authorization.ofEndpoint(endpoint, this.#sent) ?? this.#verdict ?? noPolicy;
  }

  /** Whether an update changed anything that this request was decided by. */
  isTouched(touched: Touched): boolean {
    const { destination } = this;
    return (
      touched.destination(destination) ||
      (this.#endpoint !== undefined && touched.endpoint(this.#endpoint, this.#sent)) ||
      this.#mirrors?.isTouched(touched) === true
    );
  }

  /** After a change of the mesh: what is under way and now forbidden ends. */
  recheck(): void {
    if (this.#over) return;
    const { state } = this.context;
    this.#mirrors?.recheck();
    const lost = notServed(state, this.destination);
    if (lost !== undefined)
      return this.#endNow({ status: 503, flag: 'NC', code: 'WEFT_NOT_SERVED', why: lost });
    const asked = this.#authorization.ofService();
    if (asked?.allowed === false) return this.#forbid(asked);
    const endpoint = this.#endpoint;
    if (!endpoint) return;
    const unknown = unknownService(state, this.#sent);
    if (unknown !== undefined)
      return this.#endNow({ status: 503, flag: 'NC', code: 'WEFT_BACKEND_INVALID', why: unknown });
    const verdict = this.#judge(endpoint);
    if (!verdict.allowed) this.#forbid(verdict);
  }

  #forbid(verdict: Verdict): void {
    if (!this.#answered) return void this.#holds(verdict);
    this.#verdict = verdict;
    const why = `policy ${verdict.policy} forbids it now`;
    this.#endNow({ status: 403, flag: 'RBAC', code: 'WEFT_DENIED', why });
  }

  /** An answer that has begun is broken off: half of one must not look like a whole one. */
  #endNow(refusal: Refusal): void {
    if (!this.#answered) return this.#refuse(refusal);
    this.#flag = refusal.flag;
    this.#code = refusal.code;
    this.#why = refusal.why;
    this.downstream.abort();
    this.#finish();
  }

  #holds(verdict: Verdict): boolean {
    this.#verdict = verdict;
    if (verdict.allowed) return true;
    this.#refuse({ status: 403, flag: 'RBAC', code: 'WEFT_DENIED', why: denialReason(verdict) });
    return false;
  }

  // --- session persistence ---------------------------------------------------------------------------------------------

  #session: Session | undefined;
  /** Kept once it is found: an endpoint that went since is no reason to change the backend within one request. */
  #persisted(rule: RouteRule): Session | undefined {
    return (this.#session ??= sessionOf(this.context.state, rule, this.#head.headers, Date.now()));
  }

  // --- the client's side -----------------------------------------------------------------------------------------------

  onData(bytes: Buffer): void {
    this.#idle.bodyMoved(performance.now());
    this.#bytesReceived += bytes.length;
    if (this.#over) return;
    if (!this.#upgraded && !this.#answered) this.#replay.add(bytes, this.#upstream !== undefined);
    // What follows an upgrade is no part of the request.
    if (!this.#upgraded) this.#mirrors?.write(bytes);
    if (this.#upstream && !this.#upstream.write(bytes)) this.downstream.pause();
  }

  onEnd(trailers: Headers | undefined): void {
    this.#idle.moved(performance.now());
    this.#requestEnded = true;
    this.#requestTrailers = trailers;
    if (this.#over) return;
    if (!this.#upgraded) this.#mirrors?.end(trailers);
    this.#upstream?.end(trailers);
    if (this.#answerEnded) this.#finish(true);
  }

  onDrain(): void {
    this.#idle.moved(performance.now());
    if (!this.#over) this.#upstream?.resume();
  }
  onGone(how: ClientEnd, why: string): void {
    if (this.#over) return;
    this.#flag = how === 'left' ? 'DC' : 'DPE';
    this.#why = why;
    if (how === 'left') return this.#finish();
    this.#leaveUpstream();
    if (!this.#answered) return this.#answer({ status: how === 'late' ? 408 : 400, headers: [] });
    this.downstream.abort();
    this.#finish();
  }

  // --- the endpoint's side ---------------------------------------------------------------------------------------------

  onInterim(head: ResponseHead): void {
    // The client may have waited for it with its body (100).
    this.#idle.bodyMoved(performance.now());
    if (!this.#over && !this.#answered) this.downstream.interim(head);
  }

  onHead(head: ResponseHead, hasBody: boolean): void {
    this.#idle.moved(performance.now());
    if (this.#over) return;
    // The attempt's own time goes on: it bounds the whole answer (GEP-1742).
    if (this.#retryForStatus(head.status, hasBody)) return;
    this.#replay.clear();
    this.#filterAnswer(head);
    this.#nameSession(head);
    this.#answered = true;
    this.#status = head.status;
    this.#grpcStatus = headerOf(head.headers, 'grpc-status');
    this.downstream.respond(head, hasBody);
    if (!hasBody) this.#finish(true);
  }

  onUpgraded(head: ResponseHead): void {
    this.#idle.moved(performance.now());
    if (this.#over) return;
    clearTimeout(this.#attemptTimer);
    // What the rule bounds is the request; the connection that it became has no end in time.
    clearTimeout(this.#requestTimer);
    this.#upgraded = true;
    // What the client sends now has an end of its own.
    this.#requestEnded = false;
    this.#answered = true;
    this.#status = 101;
    this.#filterAnswer(head);
    this.#nameSession(head);
    this.downstream.respond(head, false);
    this.downstream.upgraded();
  }

  onAnswerData(bytes: Buffer): void {
    this.#idle.moved(performance.now());
    if (this.#over) return;
    this.#bytesSent += bytes.length;
    if (!this.downstream.write(bytes)) this.#upstream?.pause();
  }

  onAnswerEnd(trailers: Headers | undefined): void {
    if (this.#over) return;
    if (trailers) this.#grpcStatus = headerOf(trailers, 'grpc-status') ?? this.#grpcStatus;
    this.downstream.end(trailers);
    // Of a connection that was upgraded each direction ends by itself.
    if (!this.#upgraded || this.#requestEnded) this.#finish(true);
    else this.#answerEnded = true;
  }

  onUpstreamDrain(): void {
    this.#idle.moved(performance.now());
    if (!this.#over) this.downstream.resume();
  }

  onError(failure: UpstreamFailure): void {
    if (this.#over) return;
    clearTimeout(this.#attemptTimer);
    const refusal = refusalOf(failure);
    if (this.#answered) {
      // Half an answer must not look like a whole one.
      this.#flag = refusal.flag;
      this.#code = refusal.code;
      this.#why = failure.why;
      this.downstream.abort();
      return this.#finish();
    }
    this.#lastFailure = refusal;
    const execution = executionOf(failure, this.#upstream !== undefined);
    this.#leaveUpstream();
    const ofConnection = failure.kind === 'refused' || failure.kind === 'stale';
    const next = this.#after({ method: this.#head.method, execution }, ofConnection);
    if (this.#over || this.#goesOn(next)) return;
    this.#refuse(next.kind === 'none' && next.usedUp ? { ...refusal, flag: 'URX' } : refusal);
  }

  // --- again -----------------------------------------------------------------------------------------------------------

  #after(failed: FailedAttempt, ofConnection: boolean): Next {
    const endpoint = this.#endpoint;
    const endpoints = endpoint && this.#candidates();
    return endpoints
      ? this.#repeats.after(failed, endpoint, ofConnection, endpoints)
      : { kind: 'none', usedUp: false };
  }

  /** True: another attempt is under way, or about to be. */
  #goesOn(next: Next): boolean {
    const endpoint = this.#endpoint;
    if (next.kind === 'none' || !endpoint || !this.#isKept()) return false;
    if (next.kind === 'fresh') this.#connect(endpoint, true);
    else this.#again(next.inMs);
    return true;
  }

  #retryForStatus(status: number, hasBody: boolean): boolean {
    if (this.#repeats.retry?.codes.includes(status) !== true) return false;
    const next = this.#after({ method: this.#head.method, execution: 'responded', status }, false);
    if (this.#over) return true;
    if (next.kind === 'none') {
      if (next.usedUp) this.#flag = 'URX';
      return false;
    }
    if (!this.#isKept()) return false;
    clearTimeout(this.#attemptTimer);
    const upstream = this.#upstream;
    this.#upstream = undefined;
    if (upstream) {
      // A response that is short is read to its end, so that its connection serves again.
      if (hasBody || !this.#requestEnded) upstream.cancel();
      else upstream.listener = undefined;
    }
    return this.#goesOn(next);
  }

  /** Whether the body so far is there to be sent again; asked where nothing else stands against that. */
  #isKept(): boolean {
    if (!this.#replay.isWhole) this.context.limitReached('retry-buffer');
    return this.#replay.isWhole;
  }

  #again(inMs: number): void {
    this.#leaveEndpoint();
    this.#attempt++;
    if (inMs === 0) return this.#next();
    // Nobody takes what the client sends meanwhile: all of it would have to be kept.
    if (!this.#requestEnded) this.downstream.pause();
    this.#backoffTimer = setTimeout(() => this.#next(), inMs);
  }

  #timeout(why: string): void {
    if (this.#over) return;
    this.#flag = 'UT';
    if (this.#answered) {
      this.#why = why;
      this.downstream.abort();
      return this.#finish();
    }
    this.#refuse({ status: 504, flag: 'UT', code: 'WEFT_REQUEST_TIMEOUT', why });
  }

  /** The route is of the client's namespace, not of the Service's. */
  get #isConsumerRoute(): boolean {
    const { destination } = this;
    const route = this.#matched?.route;
    return (
      route !== undefined &&
      destination.kind === 'service' &&
      route.namespace !== destination.service.namespace
    );
  }

  /** Called from time to time: what does not move for too long ends. */
  checkIdle(nowMs: number): void {
    if (this.#over) return;
    const hasBegun = this.#answered;
    const phase = {
      awaitsBody: !this.#requestEnded && !hasBegun,
      isPaused: this.downstream.isPaused,
      hasBegun,
      isGrpc: this.#isGrpc,
    };
    const overdue = this.#idle.overdue(
      nowMs,
      phase,
      idleTimeoutsOf(this.context.limits, this.#matched?.rule, this.#isConsumerRoute),
    );
    if (overdue === 'body') this.onGone('late', 'the body of the request did not come in time');
    else if (overdue === 'stream') this.#timeout('nothing moved for too long');
  }

  // --- the end ---------------------------------------------------------------------------------------------------------

  #filterAnswer(head: ResponseHead): void {
    const rule = this.#matched?.rule;
    if (rule) this.#filters?.applyToResponse(head, this.#backend?.filters ?? none, rule.filters);
  }

  /** Of a response that its endpoint gave: the waypoint's own names none. */
  #nameSession(head: ResponseHead): void {
    const rule = this.#matched?.rule;
    const endpoint = this.#endpoint;
    if (rule && endpoint) nameSession(head, rule, endpoint, this.#session, Date.now());
  }

  /** The waypoint's own answer, for a reason that the client is not told. */
  #refuse({ status, flag, code, why }: Refusal): void {
    if (this.#over) return;
    this.#flag = flag;
    this.#code = code;
    this.#why = why;
    if (this.#isGrpc) {
      this.#grpcStatus = String(grpcStatusOf(status));
      this.#answer({
        status: 200,
        headers: ['content-type', 'application/grpc', 'grpc-status', this.#grpcStatus, 'grpc-message', flag],
      });
    } else this.#answer({ status, headers: [] });
  }

  #answer(head: ResponseHead): void {
    this.#leaveUpstream();
    this.#filterAnswer(head);
    this.#answered = true;
    this.#status = head.status;
    this.downstream.respond(head, false);
    this.#finish();
  }

  #leaveEndpoint(): void {
    if (this.#endpoint) this.#endpoint.active--;
    this.#endpoint = undefined;
  }
  #leaveUpstream(): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    upstream?.cancel();
  }

  /** `whole`: the answer came to its end. */
  #finish(whole = false): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#requestTimer);
    clearTimeout(this.#attemptTimer);
    clearTimeout(this.#backoffTimer);
    const upstream = this.#upstream;
    this.#upstream = undefined;
    // An answer that came whole leaves nothing to cancel but a request that is still being sent.
    if (upstream && (!whole || !this.#requestEnded)) upstream.cancel();
    if (!this.#requestEnded && !this.#upgraded) this.#mirrors?.cancel();
    const endpoint = this.#endpoint;
    this.#leaveEndpoint();
    this.#replay.clear();
    this.downstream.listener = undefined;
    const { context, destination, downstream } = this;
    context.exchanges.delete(this);
    if (this.#hasShare) context.requestShares.release(this.client.name, this.client.group);
    const service = destination.kind === 'service' ? destination.service : undefined;
    const record: RequestRecord = {
      client: this.client,
      service: service?.hostname ?? formatSocketAddress(destination.dialled),
      serviceName: service?.name ?? 'unknown',
      serviceNamespace: service?.namespace ?? endpoint?.workload.namespace ?? 'unknown',
      method: this.#head.method,
      authority: this.#authorization.authority,
      path: this.#authorization.path,
      version: downstream.version,
      protocol: this.#isGrpc ? 'grpc' : 'http',
      status: this.#answered ? this.#status : 0,
      grpcStatus: this.#grpcStatus,
      flag: this.#flag,
      code: this.#code,
      why: this.#why,
      route: this.#matched?.label,
      endpoint,
      attempts: this.#attempts,
      policy: this.#verdict?.policy,
      rule: this.#verdict?.rule,
      audited: this.#verdict?.audited ?? none,
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      startedMs: performance.timeOrigin + this.#startedMs,
      durationMs: performance.now() - this.#startedMs,
    };
    if (this.#span) context.tracing?.end(this.#span, record);
    context.ended(record);
  }

  /** For `weft dump` and drains: ends it now. */
  cut(): void {
    if (this.#over) return;
    this.#flag = 'DC';
    this.downstream.abort();
    this.#finish();
  }
}

const none: readonly never[] = [];
const noPolicy: Verdict = { allowed: true, reason: 'no-policy', audited: none };
