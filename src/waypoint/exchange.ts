/**
 * One request, from its head to the end of its answer: route, policy, filters, endpoint, and what is tried again. Read it
 * from `start` downwards.
 */
import { performance } from 'node:perf_hooks';
import type { Span } from '@opentelemetry/api';
import type { FairLimit } from '../base/fair-limit.js';
import { errorText } from '../base/errors.js';
import { formatSocketAddress } from '../model/address.js';
import type { PathChange, RouteBackend, RouteFilter, RouteRule } from '../model/route.js';
import { whyDenied, type HttpFacts, type Verdict } from '../policy/authorize.js';
import { chooseBackend, chooseEndpoint, connectFailed, connectSucceeded } from './balance.js';
import type { Client } from './client.js';
import {
  addCorsHeaders,
  changeHeaders,
  changePath,
  preflightOf,
  redirectOf,
  type CorsFilter,
  type HeaderFilter,
} from './filters/filters.js';
import { addForwarding, restoreForwarding } from './forwarding.js';
import { ReplayBuffer } from './replay-buffer.js';
import { factsOf, readingsOnDemand, versionOf } from './attributes.js';
import { notServed, sentOf, unknownService, type Destination } from './destination.js';
import type { WaypointLimit, WaypointLimits } from './limits.js';
import {
  headerOf,
  joinedHeader,
  removeHeader,
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
import { normalizePath } from './routes/path.js';
import { isGrpcType } from './grpc.js';
import { judge } from './judge.js';
import { Mirror } from './mirror.js';
import { grpcStatusOf, noEndpoint, refusalOf, type Refusal } from './refusal.js';
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
  /** Undefined: nobody collects spans. */
  readonly tracing?: Tracing | undefined;
  /** Requests under way, for drains and idle clocks. */
  readonly exchanges: Slots<Exchange>;
  readonly requestShares: FairLimit;
  ended(record: RequestRecord): void;
  limitReached(limit: WaypointLimit): void;
}

/** Without a retry rule: other endpoints that are tried where nobody has seen the request yet. */
const unseenAttemptsMax = 2;
const retryAttemptsDefault = 2;
const backoffMsMin = 25;
const backoffMsMax = 10_000;
/** RFC 9110, section 9.2.2: sent twice they do what they do once. */
const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

export class Exchange implements DownstreamListener, UpstreamListener {
  readonly #startedMs = performance.now();
  lastActivityMs = this.#startedMs;
  readonly #head: RequestHead;
  readonly #path: string;
  /** As the client named it, whatever a rule makes of it. */
  #authority = '';
  /** The request's headers ahead of a rule's changes; undefined where there are none. */
  #asked: Headers | undefined;
  #matched: Matched | undefined;
  #backend: RouteBackend | undefined;
  #endpoint: Endpoint | undefined;
  /** The Service's port that the endpoint was chosen for. */
  #sent: Sent | undefined;
  #tried: Set<Endpoint> | undefined;
  #upstream: Upstream | undefined;
  /** Increased with each attempt and at its end: what belongs to a former one is not listened to. */
  #attempt = 0;
  #attempts = 0;
  #retries = 0;
  #requestTimer: NodeJS.Timeout | undefined;
  #attemptTimer: NodeJS.Timeout | undefined;
  #backoffTimer: NodeJS.Timeout | undefined;
  #facts: HttpFacts | undefined;
  #verdict: Verdict | undefined;
  #origin: string | undefined;
  #cors: CorsFilter | undefined;
  #mirrors: Mirror[] | undefined;
  #mirrored = false;
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
    this.#path = downstream.head.path;
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
    this.#authority = head.authority;
    this.#origin = headerOf(head.headers, 'origin');
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
    if (!this.#filterRequest(rule.filters)) return;
    if (rule.requestTimeoutMs) {
      this.#requestTimer = setTimeout(
        () => this.#timeout('the request took too long'),
        rule.requestTimeoutMs,
      );
    }
    this.#next();
  }

  /** False: it was answered here. */
  #filterRequest(filters: readonly RouteFilter[]): boolean {
    const head = this.#head;
    for (const filter of filters) {
      switch (filter.kind) {
        case 'request-headers':
          this.#changeRequest(filter);
          break;
        case 'redirect': {
          const port =
            this.destination.kind === 'service' ? this.destination.port : this.destination.dialled.port;
          this.#answer(redirectOf(head, filter, this.#matched?.prefix, port));
          return false;
        }
        case 'rewrite':
          if (filter.hostname !== undefined) head.authority = filter.hostname;
          if (filter.path && !this.#rewritePath(filter.path)) return false;
          break;
        case 'cors': {
          this.#cors = filter;
          const answer = preflightOf(head, filter);
          if (!answer) break;
          this.#cors = undefined;
          this.#answer(answer);
          return false;
        }
        case 'mirror':
          if (Math.random() * filter.denominator < filter.numerator)
            (this.#mirrors ??= []).push(this.#mirror(filter.backend));
          break;
        case 'response-headers':
          break;
      }
    }
    return true;
  }

  #mirror(backend: RouteBackend['target']): Mirror {
    const request = { isHttp2: this.downstream.version === 'HTTP/2', isGrpc: this.#isGrpc };
    return new Mirror(this.context, this.client, backend, request, () => this.#askedFacts());
  }

  /** What comes of it is read as any path is. False: it cannot be, and that was the answer. */
  #rewritePath(change: PathChange): boolean {
    try {
      this.#head.path = normalizePath(changePath(this.#head.path, change, this.#matched?.prefix));
      return true;
    } catch (error) {
      const why = `the rule makes no path of it: ${errorText(error)}`;
      this.#refuse({ status: 500, flag: 'NC', code: 'WEFT_BACKEND_INVALID', why });
      return false;
    }
  }

  #changeRequest(filter: HeaderFilter): void {
    this.#asked ??= [...this.#head.headers];
    const host = filter.set.find(({ name }) => name === 'host');
    if (host) this.#head.authority = host.value;
    changeHeaders(this.#head.headers, filter);
    removeHeader(this.#head.headers, 'host');
    restoreForwarding(this.#head.headers, this.client);
  }

  /** Another attempt, at another endpoint. */
  #next(): void {
    const { context, destination } = this;
    let endpoint: Endpoint | undefined;
    let sent = sentOf(destination);
    const rule = this.#matched?.rule;
    if (rule) {
      if (!this.#backend) {
        this.#backend = this.#persisted(rule)?.backend ?? chooseBackend(rule.backends, Math.random());
        if (this.#backend && this.#backend.filters.length > 0 && !this.#filterRequest(this.#backend.filters))
          return;
      }
      const target = this.#backend?.target;
      if (target?.kind !== 'service') {
        const why = target?.reason ?? 'the rule names no backend that takes requests';
        return this.#refuse({ status: 500, flag: 'NC', code: 'WEFT_BACKEND_INVALID', why });
      }
      sent = target;
    }
    this.#sent = sent;
    if (destination.kind === 'workload' && !rule) {
      const only = context.state.endpointAt(destination.workload, destination.dialled);
      endpoint = this.#tried?.has(only) ? undefined : only;
    } else {
      const endpoints = sent && context.state.endpoints(sent.service, sent.port);
      if (!endpoints) {
        return this.#refuse({
          status: 500,
          flag: 'NC',
          code: 'WEFT_BACKEND_INVALID',
          why: `no Service ${sent?.service ?? ''} with port ${sent?.port ?? ''} is known`,
        });
      }
      endpoint =
        (this.#tried ? undefined : rule && this.#persisted(rule)?.endpoint) ??
        chooseEndpoint(endpoints, this.#tried, Date.now(), Math.random);
    }
    if (!endpoint) {
      const none = noEndpoint(sent?.service ?? 'the workload');
      return this.#refuse((this.#tried && this.#lastFailure) ?? none);
    }
    if (!this.#holds(this.#judge(endpoint))) return;
    this.#connect(endpoint);
  }
  #lastFailure: Refusal | undefined;

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
      connectSucceeded(endpoint);
      this.#upstream = upstream;
      upstream.listener = this;
      const hasBody = downstream.hasBody;
      upstream.send(this.#head, hasBody, downstream.upgrade);
      if (this.#mirrors && !this.#mirrored) {
        this.#mirrored = true;
        for (const mirror of this.#mirrors) mirror.begin(this.#head, hasBody);
      }
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

  /** As the client asked, whatever a rule makes of it later. */
  #askedFacts(): HttpFacts {
    const readings = readingsOnDemand(this.#path);
    return (this.#facts ??= {
      method: this.#head.method,
      host: this.#authority.replace(/:\d*$/, ''),
      get paths() {
        return readings();
      },
      header: (name) =>
        name === 'host' ? this.#authority : joinedHeader(this.#asked ?? this.#head.headers, name),
    });
  }

  /** The Service that was asked is this waypoint's to carry, also on a connection that is older than a change of that. */
  #isServed(): boolean {
    const why = notServed(this.context.state, this.destination);
    if (why === undefined) return true;
    this.#refuse({ status: 503, flag: 'NC', code: 'WEFT_NOT_SERVED', why });
    return false;
  }

  /** The policies of the Service that was asked, for what the client asked. */
  #authorizeAsked(): boolean {
    const verdict = this.#judgeAsked();
    return verdict === undefined || this.#holds(verdict);
  }

  #judgeAsked(): Verdict | undefined {
    const asked = sentOf(this.destination);
    const groups = asked && this.context.state.policies.ofAsked(asked, this.destination.dialled.ip);
    return groups && groups.length > 0 ? judge(groups, this.client, this.#askedFacts()) : undefined;
  }

  /**
   * What the client asked, and what is sent in its place: a rule may be of the client's namespace, whose author has no say in what the
   * endpoint allows.
   */
  #judge(endpoint: Endpoint): Verdict {
    const groups = this.context.state.policies.ofEndpoint(endpoint, this.#sent);
    if (groups.length === 0) return this.#verdict ?? noPolicy;
    const asked = judge(groups, this.client, this.#askedFacts());
    const head = this.#head;
    const isChanged =
      this.#asked !== undefined || head.path !== this.#path || head.authority !== this.#authority;
    return asked.allowed && isChanged ? judge(groups, this.client, factsOf(head)) : asked;
  }

  /** Whether an update changed anything that this request was decided by. */
  isTouched(touched: Touched): boolean {
    const { destination } = this;
    return (
      touched.destination(destination) ||
      (this.#endpoint !== undefined && touched.endpoint(this.#endpoint, this.#sent)) ||
      this.#mirrors?.some((mirror) => mirror.isTouched(touched)) === true
    );
  }

  /** After a change of the mesh: what is under way and now forbidden ends. */
  recheck(): void {
    if (this.#over) return;
    const { state } = this.context;
    for (const mirror of this.#mirrors ?? []) mirror.recheck();
    const lost = notServed(state, this.destination);
    if (lost !== undefined)
      return this.#endNow({ status: 503, flag: 'NC', code: 'WEFT_NOT_SERVED', why: lost });
    const asked = this.#judgeAsked();
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
    this.#refuse({ status: 403, flag: 'RBAC', code: 'WEFT_DENIED', why: whyDenied(verdict) });
    return false;
  }

  // --- session persistence ---------------------------------------------------------------------------------------------

  #session: Session | undefined;
  /** Kept once it is found: an endpoint that went since is no reason to change the backend within one request. */
  #persisted(rule: RouteRule): Session | undefined {
    return (this.#session ??= sessionOf(this.context.state, rule, this.#head.headers));
  }

  // --- the client's side -----------------------------------------------------------------------------------------------

  onData(bytes: Buffer): void {
    this.lastActivityMs = performance.now();
    this.#bytesReceived += bytes.length;
    if (this.#over) return;
    if (!this.#upgraded && !this.#answered) this.#replay.add(bytes, this.#upstream !== undefined);
    if (this.#mirrors) for (const mirror of this.#mirrors) mirror.write(bytes);
    if (this.#upstream && !this.#upstream.write(bytes)) this.downstream.pause();
  }

  onEnd(trailers: Headers | undefined): void {
    this.#requestEnded = true;
    this.#requestTrailers = trailers;
    if (this.#over) return;
    if (this.#mirrors) for (const mirror of this.#mirrors) mirror.end(trailers);
    this.#upstream?.end(trailers);
    if (this.#answerEnded) this.#finish(true);
  }

  onDrain(): void {
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
    this.lastActivityMs = performance.now();
    if (!this.#over && !this.#answered) this.downstream.interim(head);
  }

  onHead(head: ResponseHead, hasBody: boolean): void {
    this.lastActivityMs = performance.now();
    if (this.#over) return;
    // The attempt's own time goes on: it bounds the whole answer (GEP-1742).
    if (this.#retryForStatus(head.status, hasBody)) return;
    this.#replay.clear();
    this.#filterAnswer(head);
    this.#answered = true;
    this.#status = head.status;
    this.#grpcStatus = headerOf(head.headers, 'grpc-status');
    this.downstream.respond(head, hasBody);
    if (!hasBody) this.#finish(true);
  }

  onUpgraded(head: ResponseHead): void {
    this.lastActivityMs = performance.now();
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
    this.downstream.respond(head, false);
    this.downstream.upgraded();
  }

  onAnswerData(bytes: Buffer): void {
    this.lastActivityMs = performance.now();
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
    if (!this.#over) this.downstream.resume();
  }

  onError(failure: UpstreamFailure): void {
    if (this.#over) return;
    clearTimeout(this.#attemptTimer);
    const endpoint = this.#endpoint;
    if (failure.kind === 'connect' && endpoint) connectFailed(endpoint, Date.now());
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
    this.#leaveUpstream();
    if (endpoint && this.#mayTryAgain(failure)) return;
    this.#refuse(refusal);
  }

  // --- again -----------------------------------------------------------------------------------------------------------

  /** True: another attempt is under way, or about to be. */
  #mayTryAgain(failure: UpstreamFailure): boolean {
    const unseen = failure.kind === 'connect' || failure.kind === 'refused';
    const retry = this.#matched?.rule.retry;
    // RFC 9110, section 9.2.2: what may have been done is not done again unless that is the same as once.
    if (!unseen && !this.#isRepeatable) return false;
    const isAsGoodAsUnseen = unseen || failure.kind === 'stale';
    if (!isAsGoodAsUnseen && !retry) return false;
    const most = Math.max(
      retry ? (retry.attempts ?? retryAttemptsDefault) : 0,
      isAsGoodAsUnseen ? unseenAttemptsMax : 0,
    );
    if (this.#retries >= most) {
      if (this.#retries > 0 && this.#lastFailure) this.#lastFailure = { ...this.#lastFailure, flag: 'URX' };
      return false;
    }
    if (!this.#isKept()) return false;
    this.#retries++;
    const endpoint = this.#endpoint;
    // The connection was stale, not the endpoint: a new one to it is as good as any.
    if ((failure.kind === 'refused' || failure.kind === 'stale') && endpoint && this.#retries === 1) {
      this.#connect(endpoint, true);
      return true;
    }
    if (endpoint && failure.kind === 'connect') (this.#tried ??= new Set()).add(endpoint);
    this.#again(isAsGoodAsUnseen ? 0 : this.#backoffMs(retry?.backoffMs));
    return true;
  }

  #retryForStatus(status: number, hasBody: boolean): boolean {
    const retry = this.#matched?.rule.retry;
    if (!retry || !retry.codes.includes(status) || !this.#isRepeatable) return false;
    if (this.#retries >= (retry.attempts ?? retryAttemptsDefault)) {
      this.#flag = 'URX';
      return false;
    }
    if (!this.#isKept()) return false;
    this.#retries++;
    clearTimeout(this.#attemptTimer);
    const upstream = this.#upstream;
    this.#upstream = undefined;
    if (upstream) {
      // An answer that is short is read to its end, so that its connection serves again.
      if (hasBody || !this.#requestEnded) upstream.cancel();
      else upstream.listener = undefined;
    }
    this.#again(this.#backoffMs(retry.backoffMs));
    return true;
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

  /** Doubled with each, never below what is configured (GEP-1731). */
  #backoffMs(configured: number | undefined): number {
    const base = configured ?? backoffMsMin;
    return (
      Math.min(Math.max(backoffMsMax, base), base * 2 ** (this.#retries - 1)) * (1 + Math.random() * 0.1)
    );
  }

  /** By its method, or since the rule names the method itself: then its author has said so. */
  get #isRepeatable(): boolean {
    const { method } = this.#head;
    return (
      idempotent.has(method) || this.#matched?.rule.matches.some((match) => match.method === method) === true
    );
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

  /** Called from time to time: what does not move for too long ends. */
  checkIdle(nowMs: number): void {
    if (nowMs - this.lastActivityMs > this.context.limits.streamIdleMsMax)
      this.#timeout('nothing moved for too long');
  }

  // --- the end ---------------------------------------------------------------------------------------------------------

  #filterAnswer(head: ResponseHead): void {
    const rule = this.#matched?.rule;
    if (rule) {
      for (const filter of this.#backend?.filters ?? none)
        if (filter.kind === 'response-headers') changeHeaders(head.headers, filter);
      for (const filter of rule.filters)
        if (filter.kind === 'response-headers') changeHeaders(head.headers, filter);
      if (this.#cors) addCorsHeaders(head.headers, this.#origin, this.#cors);
      const endpoint = this.#endpoint;
      if (rule.sessionPersistence && endpoint && this.#session?.endpoint !== endpoint)
        nameSession(head.headers, rule.sessionPersistence, endpoint);
    }
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
    if (this.#mirrors && !this.#requestEnded) for (const mirror of this.#mirrors) mirror.cancel();
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
      authority: this.#authority,
      path: this.#path,
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
