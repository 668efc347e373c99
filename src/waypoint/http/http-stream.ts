/** Interfaces between the client's side and the upstream's side of a request, independent of the HTTP version of either. */

import type { TrafficAction } from '../telemetry/request-record.js';
import type { Headers } from './headers.js';

export interface RequestHead {
  method: string;
  /** Path and query as they are forwarded: normalized (target.ts). `*` for OPTIONS. */
  path: string;
  /** host[:port], as the client sent it. */
  authority: string;
  scheme: string;
  headers: Headers;
}

export interface ResponseHead {
  status: number;
  headers: Headers;
}

/** The side of an exchange that receives body bytes. */
interface BodySink {
  /** False: more bytes are queued than the backlog allows; pause the source until `onDrain` or `onUpstreamDrain`. */
  write(bytes: Buffer): boolean;
  end(trailers?: Headers): void;
}

/** The side of an exchange that sends body bytes. */
interface BodySource {
  pause(): void;
  resume(): void;
}

/** A request of a client's connection; src/waypoint/exchange/exchange.ts responds to it once. */
export interface Downstream extends BodySink, BodySource {
  readonly head: RequestHead;
  readonly version: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2';
  /** False: no body follows the head. */
  readonly hasBody: boolean;
  /** The protocol of the client's HTTP/1.1 Upgrade header. */
  readonly upgrade: string | undefined;
  /** The exchange, which receives the request's body and the client's disconnect. Set before any event. */
  listener: DownstreamListener | undefined;
  /** Reading from the client is paused. */
  readonly isPaused: boolean;
  interim(head: ResponseHead): void;
  respond(head: ResponseHead, hasBody: boolean): void;
  /** Call it after 101: bytes are relayed in both directions; the client's arrive by onData. */
  upgraded(): void;
  /** Aborts the response, so that the client sees that it is incomplete. */
  abort(): void;
}

/** `left`: the client disconnected. `late`: the request's body did not arrive in time. `malformed`: the request is invalid. */
export type ClientEnd = 'left' | 'late' | 'malformed';

export interface DownstreamListener {
  onData(bytes: Buffer): void;
  onEnd(trailers: Headers | undefined): void;
  onDrain(): void;
  /** The client disconnected, or its request cannot be completed. */
  onGone(how: ClientEnd, why: string): void;
}

/** A request to an endpoint. */
export interface Upstream extends BodySink, BodySource {
  listener: UpstreamListener | undefined;
  /** `upgrade`: the protocol of the client's Upgrade header. */
  send(head: RequestHead, hasBody: boolean, upgrade: string | undefined): void;
  /** Cancels the request: its response is discarded. */
  cancel(): void;
}

export interface UpstreamListener {
  onInterim(head: ResponseHead): void;
  onHead(head: ResponseHead, hasBody: boolean): void;
  /** The response was 101: from here on bytes are relayed in both directions. */
  onUpgraded(head: ResponseHead): void;
  onResponseData(bytes: Buffer): void;
  onResponseEnd(trailers: Headers | undefined): void;
  onUpstreamDrain(): void;
  onError(error: UpstreamFailure): void;
}

export interface UpstreamFailure {
  /**
   * `connect`: no connection could be opened. `refused`: the endpoint did not process the request, because it said so or nothing was written.
   * `stale`: an idle connection closed while the request was in flight, so the endpoint most likely did not read it. `overflow`: a limit of the
   * waypoint was reached. upstream/retry-policy.ts decides which of these are retried.
   */
  readonly kind: 'connect' | 'overflow' | 'refused' | 'stale' | 'reset' | 'protocol' | 'timeout';
  readonly why: string;
  /** A stable code (WEFT_...) if the endpoint did not cause the failure. */
  readonly code?: string;
  /** Of `overflow`: the limit is one of this endpoint alone, so that another endpoint may have room. */
  readonly isOfEndpoint?: boolean;
  /** What a traffic policy did because of it. */
  readonly action?: TrafficAction;
}
