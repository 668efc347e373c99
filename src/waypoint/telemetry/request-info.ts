/** The data of a request under way (Envoy: StreamInfo). When the request has ended, it is the request's record. */
import { performance } from 'node:perf_hooks';
import { formatSocketAddress } from '../../model/address.js';
import type { Verdict } from '../../policy/authorize.js';
import type { Client } from '../listener/client.js';
import type { Destination } from '../listener/destination.js';
import type { Downstream } from '../http/http-stream.js';
import type { LocalReply } from '../http/local-reply.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { RequestRecord, ResponseFlag, TrafficAction } from './request-record.js';

export class RequestInfo implements RequestRecord {
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
  audited: readonly string[] = none;
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
    if (this.actions.length >= actionsMax) return;
    if (this.actions === none) this.actions = [action];
    else (this.actions as TrafficAction[]).push(action);
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
    this.policy ??= verdict?.policy;
    this.rule = verdict?.rule;
    this.audited = verdict?.audited ?? none;
    this.protocol = isGrpc ? 'grpc' : 'http';
    this.durationMs = durationMs;
  }
}

const none: readonly never[] = [];
const actionsMax = 16;
