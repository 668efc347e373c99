/**
 * Sends a request to endpoints until one of them responds (Envoy: router filter): chooses an endpoint, authorizes the request for it, acquires a
 * connection, sends the head and the body, and retries. The request's lifecycle is exchange.ts.
 */
import { performance } from 'node:perf_hooks';
import type { Rechecked } from '../authorization/endpoint-policies.js';
import { EndpointUse } from '../authorization/endpoint-use.js';
import type { RequestAuthorization } from '../authorization/request-authorization.js';
import type { Headers } from '../http/headers.js';
import type { Downstream, ResponseHead, UpstreamFailure, UpstreamListener } from '../http/http-stream.js';
import { invalidBackend, localReplyOf, noHealthyEndpoint, type LocalReply } from '../http/local-reply.js';
import type { Client } from '../listener/client.js';
import type { RouteSelection } from '../routes/route-selection.js';
import type { RequestInfo } from '../telemetry/request-info.js';
import { Attempts, type Next } from '../upstream/attempts.js';
import type { Cluster } from '../cluster/cluster.js';
import type { Endpoint } from '../cluster/endpoint.js';
import { versionOf, type HttpVersion } from '../cluster/http-version.js';
import type { Outcome } from '../cluster/outcome.js';
import { statusOfGrpcHead } from '../http/grpc.js';
import type { Mirrors } from '../upstream/mirror.js';
import { executionOf, type FailedAttempt } from '../upstream/retry-policy.js';
import type { RequestContext } from '../worker/context.js';
import type { IdleClock } from './idle-timeouts.js';
import { ReplayBuffer } from './replay-buffer.js';

/** The request, as its router needs it, and what the router reports to it. */
export interface RoutedRequest extends Rechecked {
  readonly context: RequestContext;
  readonly client: Client;
  readonly downstream: Downstream;
  readonly authorization: RequestAuthorization;
  readonly route: RouteSelection;
  readonly info: RequestInfo;
  readonly idle: IdleClock;
  readonly isGrpc: boolean;
  /** Copies of the request; undefined if there are none. */
  readonly mirrors: Mirrors | undefined;
  onInterim(head: ResponseHead): void;
  /** The endpoint's response begins. No retry follows. */
  onResponse(head: ResponseHead, hasBody: boolean): void;
  onUpgraded(head: ResponseHead): void;
  onResponseData(bytes: Buffer): void;
  onResponseEnd(trailers: Headers | undefined): void;
  /** No further attempt follows: the request ends with this reply, or is aborted if its response has begun. */
  onFailed(reply: LocalReply): void;
}

const budgetUsedUp = 'not sent again: retry budget used up';

export class Router implements UpstreamListener {
  readonly #attempts = new Attempts();
  readonly #use: EndpointUse;
  readonly #replay: ReplayBuffer;
  /** The reply for the last failed attempt, sent if no other endpoint is left. */
  #lastFailure: LocalReply | undefined;
  #requestEnded: boolean;
  #requestTrailers: Headers | undefined;
  /** The head of an endpoint's response was passed on. */
  #responded = false;
  #upgraded = false;
  #over = false;

  constructor(private readonly request: RoutedRequest) {
    this.#use = new EndpointUse(request);
    this.#requestEnded = !request.downstream.hasBody;
    this.#replay = new ReplayBuffer(request.context.limits.retryBufferBytesMax);
  }

  /** The endpoint of the attempt under way. */
  get endpoint(): Endpoint | undefined {
    return this.#attempts.endpoint;
  }

  /** Number of attempts so far. */
  get attempts(): number {
    return this.#attempts.count;
  }

  /** The HTTP version of the endpoint's response; undefined if no response was passed on. */
  get responseVersion(): HttpVersion | undefined {
    const { endpoint } = this.#attempts;
    return this.#responded && endpoint ? this.#versionOf(endpoint) : undefined;
  }

  /** The client has sent its whole request. After an upgrade: the client's direction has ended. */
  get requestEnded(): boolean {
    return this.#requestEnded;
  }

  get isUpgraded(): boolean {
    return this.#upgraded;
  }

  /** Starts the first attempt. The route and its backend are chosen. */
  start(): void {
    this.#attempts.retry = this.request.route.rule?.retry;
    this.#next();
  }

  /** Cancels the attempt under way: the rest of the endpoint's response is discarded. */
  cancel(): void {
    this.#attempts.cancelUpstream();
  }

  /** Ends the request. `whole`: its response is complete. */
  finish(whole: boolean): void {
    this.#over = true;
    const attempts = this.#attempts;
    const { upstream } = attempts;
    attempts.upstream = undefined;
    // After a complete response, only a request that is still being sent has to be canceled.
    if (upstream && (!whole || !this.#requestEnded)) upstream.cancel();
    attempts.end();
    this.#use.end();
    this.#replay.clear();
  }

  // --- the request's body ----------------------------------------------------------------------------------------------

  write(bytes: Buffer): void {
    const { upstream } = this.#attempts;
    if (!this.#upgraded && !this.#responded) this.#replay.add(bytes, upstream !== undefined);
    if (upstream && !upstream.write(bytes)) this.request.downstream.pause();
  }

  end(trailers: Headers | undefined): void {
    this.#requestEnded = true;
    this.#requestTrailers = trailers;
    if (!this.#over) this.#attempts.upstream?.end(trailers);
  }

  /** The client accepts further bytes of the response. */
  resume(): void {
    this.#attempts.upstream?.resume();
  }

  /** The client does not accept further bytes of the response for now. */
  pause(): void {
    this.#attempts.upstream?.pause();
  }

  // --- attempts --------------------------------------------------------------------------------------------------------

  /** Starts an attempt at the endpoint that is best now. */
  #next(): void {
    const { request } = this;
    const cluster = this.#cluster();
    if (!cluster) return;
    const endpoint =
      (this.#attempts.isFirst ? request.route.sessionEndpoint() : undefined) ?? this.#attempts.pick(cluster);
    const { sent } = request.route;
    if (typeof endpoint === 'string')
      return request.onFailed(this.#lastFailure ?? noHealthyEndpoint(sent?.service ?? 'the workload'));
    const refusal = request.authorization.ofEndpoint(endpoint, sent);
    if (refusal) return request.onFailed(refusal);
    this.#connect(cluster, endpoint);
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
    const { downstream } = request;
    const attempts = this.#attempts;
    const attempt = attempts.begin(cluster, endpoint);
    if (attempt === undefined) {
      request.context.onLimitReached('cluster-requests');
      return request.onFailed(
        localReplyOf({ kind: 'overflow', why: 'limit of requests to this Service reached' }),
      );
    }
    this.#use.begin(request.context.state.policies, endpoint, request.route.sent);
    // Until there is a connection, further bytes would have to be buffered without bound.
    if (downstream.hasBody && !this.#requestEnded) downstream.pause();
    const timeoutMs = request.route.rule?.backendRequestTimeoutMs;
    if (timeoutMs) {
      attempts.limit(timeoutMs, () =>
        this.onError({ kind: 'timeout', why: "timeout of the endpoint's response" }),
      );
    }
    attempts.pending = cluster.acquire(
      endpoint,
      request.client,
      this.#versionOf(endpoint),
      fresh,
      (upstream, failure) => {
        if (this.#over || !attempts.isCurrent(attempt)) return void upstream?.cancel();
        if (!upstream) return this.onError(failure ?? { kind: 'connect', why: 'no connection' });
        attempts.pending = undefined;
        attempts.upstream = upstream;
        upstream.listener = this;
        const { head, hasBody } = downstream;
        upstream.send(head, hasBody, downstream.upgrade);
        request.mirrors?.begin(head, hasBody);
        if (!hasBody) return;
        for (const bytes of this.#replay.buffers) upstream.write(bytes);
        if (this.#requestEnded) upstream.end(this.#requestTrailers);
        else downstream.resume();
      },
    );
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
    if (!this.#over && !this.#responded) this.request.onInterim(head);
  }

  onHead(head: ResponseHead, hasBody: boolean): void {
    const nowMs = performance.now();
    this.request.idle.moved(nowMs);
    if (this.#over) return;
    this.#reportOutcome(this.request.isGrpc ? statusOfGrpcHead(head) : head.status, nowMs);
    // The attempt's timeout keeps running: it bounds the whole response (GEP-1742).
    if (this.#retryForStatus(head.status, hasBody)) return;
    this.#replay.clear();
    this.#responded = true;
    this.request.onResponse(head, hasBody);
  }

  onUpgraded(head: ResponseHead): void {
    const nowMs = performance.now();
    this.request.idle.moved(nowMs);
    if (this.#over) return;
    this.#reportOutcome(head.status, nowMs);
    this.#attempts.clearLimit();
    this.#upgraded = true;
    // The client's direction now has its own end.
    this.#requestEnded = false;
    this.#responded = true;
    this.request.onUpgraded(head);
  }

  onResponseData(bytes: Buffer): void {
    this.request.idle.moved(performance.now());
    if (!this.#over) this.request.onResponseData(bytes);
  }

  onResponseEnd(trailers: Headers | undefined): void {
    if (!this.#over) this.request.onResponseEnd(trailers);
  }

  onUpstreamDrain(): void {
    this.request.idle.moved(performance.now());
    if (!this.#over) this.request.downstream.resume();
  }

  onError(failure: UpstreamFailure): void {
    if (this.#over) return;
    this.#attempts.clearLimit();
    this.#report(failure);
    const reply = localReplyOf(failure);
    if (this.#responded) return this.request.onFailed(reply);
    this.#lastFailure = reply;
    const execution = executionOf(failure, this.#attempts.upstream !== undefined);
    this.#attempts.cancelUpstream();
    const ofConnection = failure.kind === 'refused' || failure.kind === 'stale';
    const next = this.#after({ method: this.request.downstream.head.method, execution }, ofConnection);
    if (this.#over || this.#goesOn(next)) return;
    if (next.kind !== 'none' || !next.flag) return this.request.onFailed(reply);
    const why = next.flag === 'UO' ? `${reply.why}; ${budgetUsedUp}` : reply.why;
    this.request.onFailed({ ...reply, flag: next.flag, why });
  }

  /** The request's time is up while an attempt is under way. */
  reportTimeout(): void {
    this.#reportOutcome(this.#timeoutOutcome, performance.now());
  }

  /** The client, not the endpoint, may be slow while it still sends its request, and once the response has begun. */
  get #timeoutOutcome(): Outcome {
    return this.#requestEnded && !this.#responded ? 'timeout' : 'abandoned';
  }

  /** Failures of connections, and limits, are reported by the cluster itself. */
  #report({ kind, action }: UpstreamFailure): void {
    if (action) this.request.info.act(action);
    if (kind === 'connect' || kind === 'overflow') return;
    const outcome = kind === 'timeout' ? this.#timeoutOutcome : kind === 'stale' ? 'stale' : 'reset';
    this.#reportOutcome(outcome, performance.now());
  }

  #reportOutcome(outcome: Outcome, nowMs: number): void {
    const action = this.#attempts.report(outcome, nowMs);
    if (action) this.request.info.act(action);
  }

  // --- retries ---------------------------------------------------------------------------------------------------------

  #after(failed: FailedAttempt, ofConnection: boolean): Next {
    const { endpoint } = this.#attempts;
    const cluster = endpoint && this.#cluster();
    if (!cluster) return { kind: 'none', flag: undefined };
    const next = this.#attempts.after(failed, endpoint, ofConnection, cluster);
    if (next.kind === 'none' && next.flag === 'UO') this.request.context.onLimitReached('retry-budget');
    return next;
  }

  /** True: another attempt has started or is scheduled. */
  #goesOn(next: Next): boolean {
    const { endpoint } = this.#attempts;
    if (next.kind === 'none' || !endpoint || !this.#canReplay()) return false;
    if (next.kind === 'again') this.#again(next.inMs);
    else {
      const cluster = this.#cluster();
      if (cluster) this.#connect(cluster, endpoint, true);
    }
    return true;
  }

  #retryForStatus(status: number, hasBody: boolean): boolean {
    const attempts = this.#attempts;
    if (attempts.retry?.codes.includes(status) !== true) return false;
    const { method } = this.request.downstream.head;
    const next = this.#after({ method, execution: 'responded', status }, false);
    if (this.#over) return true;
    if (next.kind === 'none') {
      if (next.flag) this.request.info.flag = next.flag;
      if (next.flag === 'UO') this.request.info.why = budgetUsedUp;
      return false;
    }
    if (!this.#canReplay()) return false;
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
    if (!this.#replay.isWhole) this.request.context.onLimitReached('retry-buffer');
    return this.#replay.isWhole;
  }

  #again(inMs: number): void {
    this.#attempts.leave();
    if (inMs === 0) return this.#next();
    // There is no upstream during the backoff: all that the client sends would have to be buffered.
    if (!this.#requestEnded) this.request.downstream.pause();
    this.#attempts.backOff(inMs, () => this.#next());
  }
}
