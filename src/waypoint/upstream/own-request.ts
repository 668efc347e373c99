/**
 * Requests that the waypoint itself sends to an endpoint: health checks, and calls of services of the mesh. Their client is the waypoint's
 * own identity. The whole response is collected, up to a limit.
 */
import { performance } from 'node:perf_hooks';
import type { Duplex } from 'node:stream';
import { errorText } from '../../base/errors.js';
import type { Cluster } from '../cluster/cluster.js';
import type { Endpoint } from '../cluster/endpoint.js';
import { versionOf, type HttpVersion } from '../cluster/http-version.js';
import type { Outcome } from '../cluster/outcome.js';
import { isGrpcType } from '../http/grpc.js';
import { headerOf, type Headers } from '../http/headers.js';
import type { ResponseHead, Upstream, UpstreamFailure, UpstreamListener } from '../http/http-stream.js';
import { Http1ClientConnection } from '../http1/client.js';
import { Http2ClientConnection } from '../http2/client.js';
import { transportOf } from '../http2/transport.js';
import type { WaypointLimits } from '../limits.js';
import { waypointClient } from '../listener/client.js';
import type { MirrorContext } from './mirror.js';

export interface OwnRequest {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly headers: Headers;
  readonly body?: Buffer | undefined;
  /** From the call to the response's end. */
  readonly timeoutMs: number;
  /** A larger response body is a failure. */
  readonly bodyBytesMax: number;
  /** Absent: as the endpoint's protocol is declared; HTTP/2 for gRPC. */
  readonly version?: HttpVersion;
  readonly signal?: AbortSignal;
  /** Called at once with what gives up the request: lighter than a signal. */
  readonly onSent?: (cancel: () => void) => void;
  /** On a new connection: the last one was closed before the request was read. */
  readonly fresh?: boolean;
}

export interface OwnResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
  readonly trailers: Headers | undefined;
}

/** No complete response. `too-large`: its body is larger than allowed. `aborted`: the caller's signal. */
export class OwnRequestError extends Error {
  constructor(
    readonly kind: UpstreamFailure['kind'] | 'too-large' | 'aborted',
    why: string,
    cause?: unknown,
  ) {
    super(why, cause === undefined ? undefined : { cause });
    this.name = 'OwnRequestError';
  }
}

/**
 * Sends a request through a cluster: its limits apply, the request counts as one under way, and its outcome counts for the endpoint.
 * Rejects with an OwnRequestError.
 */
export function sendOwn(
  _context: Pick<MirrorContext, 'onLimitReached'>,
  cluster: Cluster,
  endpoint: Endpoint,
  request: OwnRequest,
): Promise<OwnResponse> {
  const held = cluster.admit(endpoint);
  if (!held) return Promise.reject(new OwnRequestError('overflow', cluster.overflow.why));
  const beganMs = performance.now();
  const report = (outcome: Outcome): void => {
    cluster.report(endpoint, outcome, performance.now() - beganMs);
  };
  return new Promise<OwnResponse>((resolve, reject) => {
    const exchange = new OwnExchange(request, report, resolve, reject);
    const isGrpc = isGrpcType(headerOf(request.headers, 'content-type'));
    const version = request.version ?? versionOf(endpoint, isGrpc, isGrpc);
    const pending = cluster.acquire(
      endpoint,
      waypointClient,
      version,
      request.fresh === true,
      (upstream, failure) =>
        upstream
          ? exchange.begin(upstream)
          : exchange.onError(failure ?? { kind: 'connect', why: 'no connection' }),
    );
    exchange.onCancel = () => pending?.cancel();
    request.onSent?.(() => exchange.abort());
  }).finally(() => cluster.release(endpoint, held));
}

/** Sends a request on a connection of its own, which is closed afterwards. Rejects with an OwnRequestError. */
export function sendOwnOn(
  dial: () => Promise<Duplex>,
  version: HttpVersion,
  limits: WaypointLimits,
  request: OwnRequest,
): Promise<OwnResponse> {
  let close: (() => void) | undefined;
  let isOver = false;
  return new Promise<OwnResponse>((resolve, reject) => {
    const exchange = new OwnExchange(request, () => undefined, resolve, reject);
    dial().then(
      (stream) => {
        const opened = version === 'http2' ? openHttp2(stream, limits) : openHttp1(stream, limits);
        close = opened.close;
        exchange.begin(opened.upstream);
        if (isOver) close();
      },
      (error: unknown) => exchange.onConnectFailed(error),
    );
  }).finally(() => {
    isOver = true;
    close?.();
  });
}

interface Opened {
  readonly upstream: Upstream;
  readonly close: () => void;
}

function openHttp1(stream: Duplex, limits: WaypointLimits): Opened {
  const upstream: Http1ClientConnection = new Http1ClientConnection(stream, {
    limits,
    onFree: () => upstream.cancel(),
    onClosed: () => undefined,
  });
  return { upstream, close: () => upstream.cancel() };
}

function openHttp2(stream: Duplex, limits: WaypointLimits): Opened {
  const connection = new Http2ClientConnection(transportOf(stream), limits, {
    onFree: () => undefined,
    onClosed: () => undefined,
  });
  return { upstream: connection.request(), close: () => connection.close() };
}

class OwnExchange implements UpstreamListener {
  #upstream: Upstream | undefined;
  #head: ResponseHead | undefined;
  readonly #parts: Buffer[] = [];
  #bytes = 0;
  #over = false;
  readonly #timer: NodeJS.Timeout;
  readonly #onAbort = (): void => this.#fail(new OwnRequestError('aborted', 'the request was aborted'));
  /** Stops waiting for a connection. */
  onCancel: (() => void) | undefined;

  constructor(
    private readonly request: OwnRequest,
    private readonly report: (outcome: Outcome) => void,
    private readonly resolve: (response: OwnResponse) => void,
    private readonly reject: (error: OwnRequestError) => void,
  ) {
    this.#timer = setTimeout(() => this.#late(), request.timeoutMs);
    if (request.signal?.aborted === true) setImmediate(this.#onAbort);
    request.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  abort(): void {
    this.#onAbort();
  }

  begin(upstream: Upstream): void {
    if (this.#over) return upstream.cancel();
    const { method, path, authority, headers, body } = this.request;
    this.#upstream = upstream;
    upstream.listener = this;
    const hasBody = body !== undefined && body.length > 0;
    // The connection may change the list.
    const fields: Headers = [...headers];
    if (hasBody && headerOf(fields, 'content-length') === undefined)
      fields.push('content-length', String(body.length));
    upstream.send({ method, path, authority, scheme: 'http', headers: fields }, hasBody, undefined);
    if (!hasBody) return;
    upstream.write(body);
    upstream.end();
  }

  onInterim(): void {}

  onHead(head: ResponseHead, hasBody: boolean): void {
    if (this.#over) return;
    this.report(head.status);
    this.#head = head;
    if (!hasBody) this.onResponseEnd(undefined);
  }

  onUpgraded(): void {
    this.onError({ kind: 'protocol', why: 'the endpoint responded 101 to a request without upgrade' });
  }

  onResponseData(bytes: Buffer): void {
    if (this.#over) return;
    this.#bytes += bytes.length;
    const { bodyBytesMax } = this.request;
    if (this.#bytes > bodyBytesMax)
      return this.#fail(
        new OwnRequestError('too-large', `the response's body has more than ${bodyBytesMax} bytes`),
      );
    this.#parts.push(Buffer.from(bytes));
  }

  onResponseEnd(trailers: Headers | undefined): void {
    if (this.#over || !this.#head) return;
    // The connection is free for others as soon as this returns.
    this.#upstream = undefined;
    this.#end();
    const { status, headers } = this.#head;
    this.resolve({ status, headers, body: Buffer.concat(this.#parts), trailers });
  }

  onUpstreamDrain(): void {}

  onError({ kind, why }: UpstreamFailure): void {
    if (this.#over) return;
    // Failures to connect, and limits, are reported by the cluster itself.
    if (kind !== 'connect' && kind !== 'overflow') this.report('reset');
    this.#upstream = undefined;
    this.#fail(new OwnRequestError(kind, why));
  }

  onConnectFailed(error: unknown): void {
    this.#fail(new OwnRequestError('connect', errorText(error), error));
  }

  #late(): void {
    if (this.#over) return;
    // Without a connection the endpoint has not been asked.
    if (this.#upstream) this.report('timeout');
    this.#fail(new OwnRequestError('timeout', `no response within ${this.request.timeoutMs} ms`));
  }

  #fail(error: OwnRequestError): void {
    if (this.#over) return;
    this.#end();
    this.#upstream?.cancel();
    this.#upstream = undefined;
    this.reject(error);
  }

  #end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.request.signal?.removeEventListener('abort', this.#onAbort);
    this.onCancel?.();
  }
}
