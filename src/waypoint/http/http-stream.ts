/** What goes between a client's side and an upstream's side of a request, whatever version of HTTP either speaks. */

/** Names in lower case, each before its value; pseudo-headers are fields of the head instead. */
export type Headers = string[];

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
export interface BodySink {
  /** False: more than the backlog waits; the source is paused until `onDrain` of whoever was told. */
  write(bytes: Buffer): boolean;
  end(trailers?: Headers): void;
}

/** One side's half of an exchange that gives bytes. */
export interface BodySource {
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

export function headerOf(headers: Headers, name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) return headers[i + 1];
  return undefined;
}

/** All values of a name, joined as RFC 9110, section 5.3 allows. */
export function joinedHeader(headers: Headers, name: string): string | undefined {
  let found: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== name) continue;
    found = found === undefined ? (headers[i + 1] ?? '') : `${found}, ${headers[i + 1] ?? ''}`;
  }
  return found;
}

export function removeHeader(headers: Headers, name: string): void {
  let to = 0;
  for (let from = 0; from < headers.length; from += 2) {
    if (headers[from] === name) continue;
    if (to !== from) {
      headers[to] = headers[from] ?? '';
      headers[to + 1] = headers[from + 1] ?? '';
    }
    to += 2;
  }
  headers.length = to;
}

/** In place of all values that there were. */
export function setHeader(headers: Headers, name: string, value: string): void {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== name) continue;
    headers[i + 1] = value;
    if (i + 2 < headers.length) {
      const rest = headers.splice(i + 2);
      removeHeader(rest, name);
      headers.push(...rest);
    }
    return;
  }
  headers.push(name, value);
}
