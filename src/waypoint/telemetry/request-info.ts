/** The data of a request under way (Envoy: StreamInfo). When the request has ended, it is the request's record. */
import { performance } from 'node:perf_hooks';
import { formatSocketAddress } from '../../model/address.js';
import type { Verdict } from '../../policy/authorize.js';
import type { Client } from '../listener/client.js';
import type { Destination } from '../listener/destination.js';
import type { Downstream } from '../http/http-stream.js';
import type { LocalReply } from '../http/local-reply.js';
import type { Endpoint } from '../cluster/endpoint.js';
import { nextRequestNumber } from './request-id.js';
import type { RequestRecord, ResponseFlag, TrafficAction, TrafficFeature } from './request-record.js';

export class RequestInfo implements RequestRecord {
  readonly number = nextRequestNumber();
  readonly service: string;
  readonly serviceName: string;
  serviceNamespace: string;
  readonly port: number;
  readonly method: string;
  /** The authority that the client sent, before any rule's changes. */
  authority = '';
  /** The path that the client sent, without its token. */
  path: string;
  principal: string | undefined;
  readonly version: string;
  protocol: 'http' | 'grpc' = 'http';
  /** 0 until a response has begun. */
  status = 0;
  grpcStatus: string | undefined;
  flag: ResponseFlag | undefined;
  code: string | undefined;
  why: string | undefined;
  route: string | undefined;
  endpoint: Endpoint | undefined;
  attempts = 0;
  attemptsBefore = 0;
  policy: string | undefined;
  rule: number | undefined;
  /** Policies in dry run or audit mode that would have refused the request by its user, a decision or its rate. */
  #tried: readonly string[] = none;
  #auditedByVerdict: readonly string[] = none;
  /** Dry runs that have yet to decide. */
  #undecided = 0;
  #onceDecided: (() => void) | undefined;
  actions: TrafficAction[] | readonly never[] = none;
  bytesReceived = 0;
  bytesSent = 0;
  readonly startedMs: number;
  durationMs = 0;

  /** `startedMs`: by the monotonic clock. */
  constructor(
    readonly client: Client,
    private readonly destination: Destination,
    { head, version }: Downstream,
    startedMs: number,
  ) {
    const service = destination.kind === 'service' ? destination.service : undefined;
    this.service = service?.hostname ?? formatSocketAddress(destination.dialed);
    this.serviceName = service?.name ?? 'unknown';
    this.serviceNamespace = service?.namespace ?? 'unknown';
    this.port = destination.kind === 'service' ? destination.port : destination.dialed.port;
    this.method = head.method;
    this.path = head.path;
    this.version = version;
    this.startedMs = performance.timeOrigin + startedMs;
  }

  /** Records the waypoint's own reply, or why it aborts the response. */
  fail({ flag, code, why, policy }: LocalReply): void {
    this.policy = policy;
    this.flag = flag;
    this.code = code;
    this.why = why;
  }

  /** Records what a traffic policy did. At most `actionsMax` are kept. */
  act(action: TrafficAction): void {
    // The response may be the endpoint's own, whose request was delayed nonetheless.
    if (action.feature === 'fault-delay' && action.mode === 'did') this.flag ??= 'DI';
    const { feature, mode, policy } = action;
    if (
      mode === 'would' &&
      refusing.has(feature) &&
      !this.#tried.includes(policy) &&
      this.#tried.length < actionsMax
    )
      this.#tried = [...this.#tried, policy];
    if (this.actions.length >= actionsMax) return;
    if (this.actions === none) this.actions = [action];
    else (this.actions as TrafficAction[]).push(action);
  }

  decidedLater(decision: Promise<void>): void {
    this.#undecided++;
    const decided = (): void => {
      if (--this.#undecided === 0) this.#onceDecided?.();
    };
    void decision.then(decided, decided);
  }

  /** Calls back when all dry runs of the request have decided. Called once, when the request has ended. */
  onceDecided(done: () => void): void {
    if (this.#undecided === 0) done();
    else this.#onceDecided = done;
  }

  /** A dry run may decide after the request has ended (`decidedLater` of FilteredRequest). */
  get audited(): readonly string[] {
    return this.#tried.length > 0 ? [...this.#tried, ...this.#auditedByVerdict] : this.#auditedByVerdict;
  }

  /** Completes the record with the last endpoint that was tried and the last verdict. */
  end(
    endpoint: Endpoint | undefined,
    verdict: Verdict | undefined,
    isGrpc: boolean,
    durationMs: number,
  ): void {
    this.endpoint = endpoint;
    if (this.destination.kind !== 'service')
      this.serviceNamespace = endpoint?.workload.namespace ?? 'unknown';
    // A rule belongs to the policy of the verdict: another one may have refused the request.
    this.rule = this.policy === undefined ? verdict?.rule : undefined;
    this.policy ??= verdict?.policy;
    this.#auditedByVerdict = verdict?.audited ?? none;
    this.protocol = isGrpc ? 'grpc' : 'http';
    this.durationMs = durationMs;
  }
}

const none: readonly never[] = [];
const actionsMax = 16;
/** Parts of policies that decide who may send a request, or how often: the others end or change requests for other reasons. */
const refusing: ReadonlySet<TrafficFeature> = new Set<TrafficFeature>([
  'jwt',
  'external-authorization',
  'local-rate-limit',
  'global-rate-limit',
]);
