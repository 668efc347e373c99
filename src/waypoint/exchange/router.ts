/**
 * Sends a request to endpoints until one of them responds (Envoy: router filter): chooses an endpoint, authorizes the request for it, acquires a
 * connection, sends the head and the body, retries and hedges. The request's lifecycle is exchange.ts.
 */
import { performance } from 'node:perf_hooks';
import { outcomeOf } from '../upstream/response-outcome.js';
import { headerOf, type Headers } from '../http/headers.js';
import type { ResponseHead, UpstreamFailure } from '../http/http-stream.js';
import { invalidBackend, localReplyOf, noHealthyEndpoint, type LocalReply } from '../http/local-reply.js';
import type { Cluster, Excluded, NoEndpoint } from '../cluster/cluster.js';
import type { Endpoint } from '../cluster/endpoint.js';
import { versionOf, type HttpVersion } from '../cluster/http-version.js';
import type { Outcome } from '../cluster/outcome.js';
import { Attempt, type AttemptOwner } from '../upstream/attempt.js';
import { Attempts } from '../upstream/attempts.js';
import { retryAfterMs } from '../upstream/retry-after.js';
import {
  executionOf,
  isRetriedStatus,
  mayRepeat,
  rulesOfOwnPolicy,
  rulesOfRule,
  type FailedAttempt,
  type RetryRules,
} from '../upstream/retry-policy.js';
import { RetryState, type Next } from '../upstream/retry-state.js';
import { ReplayBuffer } from './replay-buffer.js';
import { report, reportAction, reportDryRun, reportNext, reportStacked } from './retry-report.js';
import type { RoutedRequest } from './routed-request.js';
import { headOfTry, tryMsOf } from './try.js';

const budgetUsedUp = 'not sent again: retry budget used up';

export class Router implements AttemptOwner {
  readonly #attempts = new Attempts();
  #rules: RetryRules | undefined;
  /** Undefined: the request has no body. */
  readonly #replay: ReplayBuffer | undefined;
  /** The reply for the last failed attempt, sent if no other endpoint is left. */
  #lastFailure: LocalReply | undefined;
  #requestEnded: boolean;
  #requestTrailers: Headers | undefined;
  /** The head of an endpoint's response was passed on. */
  #responded = false;
  #upgraded = false;
  #over = false;
  #isHashed = false;
  #hash: number | undefined;
  #cookie: string | undefined;

  constructor(private readonly request: RoutedRequest) {
    this.#requestEnded = !request.downstream.hasBody;
    if (!this.#requestEnded) this.#replay = new ReplayBuffer(request.context.limits.retryBufferBytesMax);
  }

  /** The last attempt, or the one whose response is the client's. Its endpoint is known also after its end. */
  get attempt(): Attempt | undefined {
    return this.#attempts.last;
  }

  /** Number of attempts so far. */
  get attempts(): number {
    return this.#attempts.count;
  }

  /** The HTTP version of the endpoint's response; undefined if no response was passed on. */
  get responseVersion(): HttpVersion | undefined {
    const { last } = this.#attempts;
    return this.#responded && last ? this.#versionOf(last.endpoint) : undefined;
  }

  /** The client has sent its whole request. After an upgrade: the client's direction has ended. */
  get requestEnded(): boolean {
    return this.#requestEnded;
  }

  /** The body's bytes so far, before an endpoint is chosen. */
  get buffered(): readonly Buffer[] {
    return this.#replay?.buffers ?? [];
  }

  get requestTrailers(): Headers | undefined {
    return this.#requestTrailers;
  }

  get isUpgraded(): boolean {
    return this.#upgraded;
  }

  /** Starts the first attempt. The route and its backend are chosen. */
  start(): void {
    const { route, settings } = this.request;
    const { retry, retryPolicy } = route.rule ?? {};
    this.#rules = retryPolicy
      ? rulesOfOwnPolicy(retryPolicy)
      : retry
        ? rulesOfRule(retry, settings.retry)
        : settings.retry;
    this.#next();
  }

  /** Cancels the attempts under way: the rest of the endpoint's response is discarded. */
  cancel(): void {
    this.#attempts.cancel();
  }

  /** Ends the request. `whole`: its response is complete. */
  finish(whole: boolean): void {
    this.#over = true;
    // After a complete response, only a request that is still being sent has to be canceled.
    this.#attempts.end(whole && this.#requestEnded);
    this.#replay?.clear();
  }

  /** Authorizes the attempts under way again after a mesh update, and ends those that are not allowed. Undefined: the request may go on. */
  recheck(): LocalReply | undefined {
    const { authorization, route } = this.request;
    const attempts = this.#attempts;
    const check = ({ isOver, endpoint }: Attempt): LocalReply | undefined =>
      authorization.recheck(isOver ? undefined : endpoint, route.sent, this.#responded);
    for (const attempt of attempts.hedged) if (check(attempt)) attempts.drop(attempt);
    const { last } = attempts;
    const refusal = last ? check(last) : authorization.recheck(undefined, route.sent, this.#responded);
    if (!refusal || !last || attempts.hedged.every((one) => one === last)) return refusal;
    attempts.drop(last);
    return undefined;
  }

  // --- the request's body ----------------------------------------------------------------------------------------------

  write(bytes: Buffer): void {
    const upstream = this.#attempts.last?.upstream;
    if (!this.#upgraded && !this.#responded) this.#replay?.add(bytes, upstream !== undefined);
    if (upstream && !upstream.write(bytes)) this.request.downstream.pause();
  }

  end(trailers: Headers | undefined): void {
    const wasEnded = this.#requestEnded;
    this.#requestEnded = true;
    this.#requestTrailers = trailers;
    const { last } = this.#attempts;
    if (this.#over || !last || last.isOver) return;
    last.upstream?.end(trailers);
    if (!wasEnded && !this.#responded) this.#limitTry(last);
  }

  /** The client accepts further bytes of the response. */
  resume(): void {
    this.#attempts.last?.upstream?.resume();
  }

  /** The client does not accept further bytes of the response for now. */
  pause(): void {
    this.#attempts.last?.upstream?.pause();
  }

  // --- attempts --------------------------------------------------------------------------------------------------------

  /** Starts an attempt at the endpoint that is best now. */
  #next(): void {
    const { request } = this;
    const cluster = this.#cluster();
    if (!cluster) return;
    const { retries } = this.#attempts;
    const endpoint =
      (retries ? undefined : this.#sessionEndpoint(cluster)) ?? this.#pick(cluster, retries?.excluded);
    const { sent } = request.route;
    if (typeof endpoint === 'string')
      return this.#fail(this.#lastFailure ?? noHealthyEndpoint(sent?.service ?? 'the workload'));
    const refusal = request.authorization.ofEndpoint(endpoint, sent);
    if (refusal) return this.#fail(refusal);
    const action = cluster.localityAction(endpoint);
    if (action) request.act(action);
    this.#connect(cluster, endpoint);
  }

  /** As in Envoy, the session of an ejected endpoint goes on at another one. */
  #sessionEndpoint(cluster: Cluster): Endpoint | undefined {
    const endpoint = this.request.route.sessionEndpoint();
    return endpoint && cluster.mayUse(endpoint) ? endpoint : undefined;
  }

  #pick(cluster: Cluster, excluded: Excluded | undefined): Endpoint | NoEndpoint {
    const hash = this.#hashFor(cluster);
    return excluded || hash !== undefined ? cluster.pick({ excluded, hash }) : cluster.pick();
  }

  /** The hash that a cluster balances the request by. Computed once per request. */
  #hashFor({ requestHash }: Cluster): number | undefined {
    if (requestHash && !this.#isHashed) {
      this.#isHashed = true;
      this.#hash = requestHash.hash(this.request, (cookie) => (this.#cookie = cookie));
    }
    return this.#hash;
  }

  /** Adds the cookie that later requests are balanced by to an endpoint's response. */
  addCookie({ headers }: ResponseHead): void {
    if (this.#cookie !== undefined) headers.push('set-cookie', this.#cookie);
  }

  /** The cluster that the request goes to. Undefined: there is no such backend, and the request has ended. */
  #cluster(): Cluster | undefined {
    const cluster = this.request.route.cluster();
    if (typeof cluster !== 'string') return cluster;
    this.request.onFailed(invalidBackend(cluster));
    return undefined;
  }

  #connect(cluster: Cluster, endpoint: Endpoint, fresh = false): void {
    const { request } = this;
    const { downstream, route, context } = request;
    const attempts = this.#attempts;
    const retryOf = attempts.retries?.handOver();
    const held = cluster.admit(endpoint, request.client, request);
    if (!held) {
      retryOf?.releaseRetry();
      return this.#overflow(cluster.overflow);
    }
    const attempt = new Attempt(this, request, cluster, endpoint, held, retryOf);
    attempts.begin(attempt);
    attempt.use(context.state.policies, route.sent);
    const { count } = attempts;
    if (count === 1) {
      cluster.countRequest();
      if (this.#rules) reportStacked(request, attempt);
    }
    // Until there is a connection, further bytes would have to be buffered without bound.
    if (downstream.hasBody && !this.#requestEnded) downstream.pause();
    const timeoutMs = route.rule?.backendRequestTimeoutMs;
    if (timeoutMs) attempt.limit(timeoutMs, () => this.#onTimeout(attempt));
    if (this.#requestEnded) this.#limitTry(attempt);
    attempt.pending = cluster.acquire(
      endpoint,
      request.client,
      this.#versionOf(endpoint),
      fresh,
      (upstream, failure) => {
        if (attempt.isOver) return void upstream?.cancel();
        if (!upstream) return this.onError(attempt, failure ?? { kind: 'connect', why: 'no connection' });
        attempt.connected(upstream);
        const { head, hasBody } = downstream;
        upstream.send(headOfTry(request, this.#rules, count), hasBody, downstream.upgrade);
        request.mirrors?.begin(head, hasBody);
        if (!hasBody) return;
        for (const bytes of this.#replay?.buffers ?? []) upstream.write(bytes);
        if (this.#requestEnded) upstream.end(this.#requestTrailers);
        else downstream.resume();
      },
    );
  }

  /** A limit of the cluster is reached. As in Envoy, the request is not tried again: all endpoints have the limit in common. */
  #overflow(failure: UpstreamFailure): void {
    if (failure.action) this.request.act(failure.action);
    this.#fail(localReplyOf(failure));
  }

  #versionOf(endpoint: Endpoint): HttpVersion {
    const { downstream, isGrpc } = this.request;
    if (downstream.upgrade !== undefined) return 'http1';
    return versionOf(endpoint, downstream.version === 'HTTP/2', isGrpc);
  }

  // --- the endpoint's response -----------------------------------------------------------------------------------------

  onInterim(head: ResponseHead): void {
    // The client may have waited for this response (100) before it sent its body.
    this.request.idle.bodyMoved(performance.now());
    if (!this.#responded) this.request.onInterim(head);
  }

  onHead(attempt: Attempt, head: ResponseHead, hasBody: boolean): void {
    const nowMs = performance.now();
    this.request.idle.moved(nowMs);
    this.#reportOutcome(attempt, outcomeOf(this.request, head), nowMs);
    if (this.#retryForStatus(attempt, head, hasBody)) return;
    this.#responded = true;
    this.#attempts.choose(attempt);
    this.#replay?.clear();
    // The attempt's timeout keeps running: it bounds the whole response (GEP-1742).
    this.request.onResponse(head, hasBody);
  }

  onUpgraded(attempt: Attempt, head: ResponseHead): void {
    const nowMs = performance.now();
    this.request.idle.moved(nowMs);
    this.#reportOutcome(attempt, head.status, nowMs);
    attempt.clearLimit();
    this.#responded = true;
    this.#attempts.choose(attempt);
    this.#upgraded = true;
    // The client's direction now has its own end.
    this.#requestEnded = false;
    this.request.onUpgraded(head);
  }

  onResponseData(bytes: Buffer): void {
    this.request.idle.moved(performance.now());
    this.request.onResponseData(bytes);
  }

  onResponseEnd(trailers: Headers | undefined): void {
    this.request.onResponseEnd(trailers);
  }

  onUpstreamDrain(): void {
    this.request.idle.moved(performance.now());
    this.request.downstream.resume();
  }

  onError(attempt: Attempt, failure: UpstreamFailure): void {
    this.#reportFailure(attempt, failure);
    const reply = localReplyOf(failure);
    if (this.#responded) return this.request.onFailed(reply);
    this.#lastFailure = reply;
    const execution = executionOf(failure, attempt.upstream !== undefined);
    attempt.cancel();
    if (attempt.isHedged) return this.#fail(reply, attempt);
    const { method } = this.request.downstream.head;
    const next = this.#after(attempt, { method, execution, failure });
    if (this.#over || this.#goesOn(attempt, next)) return;
    const flag = next.kind === 'none' ? next.flag : undefined;
    if (!flag) return this.#fail(reply, attempt);
    this.#fail({ ...reply, flag, why: flag === 'UO' ? `${reply.why}; ${budgetUsedUp}` : reply.why }, attempt);
  }

  /** No attempt follows. The request fails, unless an attempt besides this one is under way. */
  #fail(reply: LocalReply, attempt?: Attempt): void {
    if (!this.#attempts.hasOther(attempt)) return this.request.onFailed(reply);
    if (attempt) this.#attempts.drop(attempt);
  }

  // --- timeouts of attempts --------------------------------------------------------------------------------------------

  /** The request was sent whole: from now on the attempt has the time of a try (Envoy: per_try_timeout). */
  #limitTry(attempt: Attempt): void {
    const tryMs = tryMsOf(this.request, this.#rules);
    const dryRun = this.request.settings.retryDryRun;
    if (tryMs > 0) attempt.limitTry(tryMs, () => this.#onTryTimeout(attempt));
    else if (dryRun && dryRun.perTryTimeoutMs > 0) {
      const feature = dryRun.hedges ? 'hedge' : 'timeout';
      attempt.limitTry(dryRun.perTryTimeoutMs, () => reportAction(this.request, feature, 'would'));
    }
  }

  #onTryTimeout(attempt: Attempt): void {
    if (this.#rules?.hedges === true) return this.#hedge(attempt);
    reportAction(this.request, 'timeout');
    this.#onTimeout(attempt);
  }

  #onTimeout(attempt: Attempt): void {
    report(this.request, 'perTryTimeout', attempt);
    this.onError(attempt, { kind: 'timeout', why: "timeout of the endpoint's response" });
  }

  /** The request's time is up while an attempt is under way. `ofClient`: by a deadline that the client set. */
  reportTimeout(ofClient: boolean): void {
    const { last } = this.#attempts;
    if (last?.isOver !== false) return;
    this.#reportOutcome(last, ofClient ? 'abandoned' : this.#timeoutOutcome, performance.now());
  }

  /** The client, not the endpoint, may be slow while it still sends its request, and once the response has begun. */
  get #timeoutOutcome(): Outcome {
    return this.#requestEnded && !this.#responded ? 'timeout' : 'abandoned';
  }

  /** Failures of connections, and limits, are reported by the cluster itself. */
  #reportFailure(attempt: Attempt, { kind, action }: UpstreamFailure): void {
    // Outlier detection has counted its actions; limits have not.
    if (action && kind === 'overflow') this.request.act(action);
    else if (action) this.request.info.act(action);
    if (kind === 'connect' || kind === 'overflow') return;
    const outcome = kind === 'timeout' ? this.#timeoutOutcome : kind === 'stale' ? 'stale' : 'reset';
    this.#reportOutcome(attempt, outcome, performance.now());
  }

  #reportOutcome(attempt: Attempt, outcome: Outcome, nowMs: number): void {
    const action = attempt.report(outcome, nowMs);
    if (action) this.request.info.act(action);
  }

  // --- retries ---------------------------------------------------------------------------------------------------------

  /** Decides what follows a failed attempt. @param headers of its response */
  #after(attempt: Attempt, failed: FailedAttempt, headers?: Headers): Next {
    const { request } = this;
    const cluster = this.#cluster();
    if (!cluster) return { kind: 'none', flag: undefined };
    attempt.releaseRetry();
    const waitMsMax = this.#rules?.retryAfterMsMax ?? 0;
    const askedMs = headers && waitMsMax > 0 ? retryAfterMs(headers, Date.now(), waitMsMax) : undefined;
    const retries = (this.#attempts.retries ??= new RetryState(this.#rules));
    const next = retries.after(failed, attempt.endpoint, {
      cluster,
      askedMs,
      leftMs: request.leftMs(performance.now()),
      canReplay: () => this.#canReplay(),
    });
    reportNext(request, attempt, next, this.#rules);
    if (next.kind === 'none') reportDryRun(request, failed, this.#attempts.count);
    return next;
  }

  /** True: another attempt has started or is scheduled. */
  #goesOn(attempt: Attempt, next: Next): boolean {
    if (next.kind === 'none') return false;
    attempt.end();
    if (next.kind === 'again') this.#again(next.inMs);
    else {
      const cluster = this.#cluster();
      if (cluster) this.#connect(cluster, attempt.endpoint, true);
    }
    return true;
  }

  /** True: the response is not the client's, because another attempt follows or is under way. */
  #retryForStatus(attempt: Attempt, { status, headers }: ResponseHead, hasBody: boolean): boolean {
    const { request } = this;
    const rules = this.#rules;
    const attempts = this.#attempts;
    if (!rules && !attempts.retries && !request.settings.retryDryRun) return false;
    const { method } = request.downstream.head;
    const grpcStatus = headerOf(headers, 'grpc-status');
    const failed = { method, execution: 'responded', status, grpcStatus } as const;
    if (!rules || !isRetriedStatus(failed, rules)) {
      if (attempts.count > 1) report(request, 'retrySuccess', attempt);
      reportDryRun(request, failed, attempts.count);
      return false;
    }
    const next = attempt.isHedged ? undefined : this.#after(attempt, failed, headers);
    if (this.#over) return true;
    if (next && next.kind !== 'none') {
      this.#leave(attempt, hasBody);
      return this.#goesOn(attempt, next);
    }
    if (attempts.hasOther(attempt)) {
      this.#leave(attempt, hasBody);
      attempts.drop(attempt);
      return true;
    }
    if (next?.flag) request.info.flag = next.flag;
    if (next?.flag === 'UO') request.info.why = budgetUsedUp;
    return false;
  }

  /** After a response without a body the connection can serve further requests. */
  #leave(attempt: Attempt, hasBody: boolean): void {
    if (hasBody || !this.#requestEnded) attempt.cancel();
    else attempt.leave();
  }

  /** Whether the body so far is in the replay buffer. Called only if nothing else prevents a retry, because it counts the reached limit. */
  #canReplay(): boolean {
    const isWhole = this.#replay?.isWhole !== false;
    if (!isWhole) this.request.context.onLimitReached('retry-buffer');
    return isWhole;
  }

  #again(inMs: number): void {
    if (inMs === 0) return this.#next();
    // There is no upstream during the backoff: all that the client sends would have to be buffered.
    if (!this.#requestEnded) this.request.downstream.pause();
    this.#attempts.retries?.backOff(inMs, () => this.#next());
  }

  /** Starts a further attempt at another endpoint while this one goes on (Envoy: hedge_on_per_try_timeout). */
  #hedge(attempt: Attempt): void {
    const { request } = this;
    const { downstream, route, authorization } = request;
    const action = attempt.reportSlow(performance.now());
    if (action) request.info.act(action);
    const cluster = route.cluster();
    if (typeof cluster === 'string' || downstream.upgrade !== undefined) return;
    if (!mayRepeat(downstream.head.method, this.#rules) || !this.#canReplay()) return;
    const retries = (this.#attempts.retries ??= new RetryState(this.#rules));
    const excluded = retries.hedge(attempt.endpoint);
    if (!excluded) return report(request, 'retryLimitExceeded', attempt);
    const endpoint = this.#pick(cluster, excluded);
    if (typeof endpoint === 'string' || !authorization.allowsEndpoint(endpoint, route.sent)) return;
    if (!retries.take(cluster)) return reportNext(request, attempt, { kind: 'none', flag: 'UO' });
    authorization.ofEndpoint(endpoint, route.sent);
    report(request, 'retry', attempt);
    reportAction(request, 'hedge');
    this.#attempts.hedge(attempt);
    this.#connect(cluster, endpoint);
  }
}
