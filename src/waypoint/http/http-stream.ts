/** What goes between a client's side and an upstream's side of a request, whatever version of HTTP either speaks. */

import type { Headers } from './headers.js';

export interface RequestHead {
  method: string;
  /** Path and query as they go on: normalized (target.ts). `*` of OPTIONS. */
  path: string;
  /** host[:port], as the client named it. */
  authority: string;
  scheme: string;
  headers: Headers;
}

export interface ResponseHead {
  status: number;
  headers: Headers;
}

/** One side's half of an exchange that takes bytes. */
interface BodySink {
  /** False: more than the backlog waits; the source is paused until `onDrain` of whoever was told. */
  write(bytes: Buffer): boolean;
  end(trailers?: Headers): void;
}

/** One side's half of an exchange that gives bytes. */
interface BodySource {
  pause(): void;
  resume(): void;
}

/** A request as its client's connection sees it; src/waypoint/exchange/exchange.ts responds to it, once. */
export interface Downstream extends BodySink, BodySource {
  readonly head: RequestHead;
  readonly version: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2';
  /** False: nothing follows the head. */
  readonly hasBody: boolean;
  /** The protocol that the client would change to (HTTP/1.1 Upgrade). */
  readonly upgrade: string | undefined;
  /** The exchange that takes the request's body and the client's end. Set before anything is told. */
  listener: DownstreamListener | undefined;
  /** Nobody reads what it sends at present. */
  readonly isPaused: boolean;
  interim(head: ResponseHead): void;
  respond(head: ResponseHead, hasBody: boolean): void;
  /** After 101: bytes go both ways as they are; the client's come by onData. */
  upgraded(): void;
  /** The response cannot be completed: its client sees that it is broken. */
  abort(): void;
}

/** `late`: what it announced did not come in time. */
export type ClientEnd = 'left' | 'late' | 'malformed';

export interface DownstreamListener {
  onData(bytes: Buffer): void;
  onEnd(trailers: Headers | undefined): void;
  onDrain(): void;
  /** The client is gone, or its request is broken. */
  onGone(how: ClientEnd, why: string): void;
}

/** A request on its way to an endpoint. */
export interface Upstream extends BodySink, BodySource {
  listener: UpstreamListener | undefined;
  /** `upgrade`: the protocol to ask for, where the client does. */
  send(head: RequestHead, hasBody: boolean, upgrade: string | undefined): void;
  /** No answer is wanted any more. */
  cancel(): void;
}

export interface UpstreamListener {
  onInterim(head: ResponseHead): void;
  onHead(head: ResponseHead, hasBody: boolean): void;
  /** The answer was 101: bytes go both ways from here on. */
  onUpgraded(head: ResponseHead): void;
  onResponseData(bytes: Buffer): void;
  onResponseEnd(trailers: Headers | undefined): void;
  onUpstreamDrain(): void;
  onError(error: UpstreamFailure): void;
}

export interface UpstreamFailure {
  /**
   * `connect`: there was no connection. `refused`: the endpoint did not process the request: it says so, or nothing was written. `stale`:
   * an idle connection ended as the request was on its way: most likely nobody saw it. `overflow`: a limit of ours. upstream/retry-policy.ts says what
   * is repeated after which.
   */
  readonly kind: 'connect' | 'overflow' | 'refused' | 'stale' | 'reset' | 'protocol' | 'timeout';
  readonly why: string;
  /** A stable code where the failure is not the endpoint's own: WEFT_... */
  readonly code?: string;
}
