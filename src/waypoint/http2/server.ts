/** A client's HTTP/2 connection, by prior knowledge: each stream is a request. */
import http2 from 'node:http2';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { closeOnceSent } from '../../base/close-stream.js';
import { sessionMegabytesMax } from '../../base/session-memory.js';
import type { WaypointLimits } from '../limits.js';
import type { Downstream, DownstreamListener, RequestHead, ResponseHead } from '../http/http-stream.js';
import type { Headers } from '../http/headers.js';
import { headerOf, removeHeader } from '../http/headers.js';
import { parseTarget } from '../http/target.js';
import { TargetError } from '../../policy/path.js';
import { normalizeAuthority } from '../../policy/host.js';
import { blockFault, blockOptions, blockSettings } from './block-limits.js';
import { FrameReader } from './frames.js';
import { flatten, toHttp2, trailersOf } from './headers.js';

interface Http2ServerOptions {
  readonly limits: WaypointLimits;
  /** False: `//` in a path is not merged. */
  readonly mergeSlashes: boolean;
  readonly onRequest: (request: Downstream) => void;
  readonly onRefused: (status: number, why: string) => void;
  readonly onClosed: () => void;
}

const windowBytes = 1 << 20;
/**
 * Limits of streams that a client opens and resets (CVE-2023-44487): a burst and a rate. Slightly below the library's own limits, because
 * beyond those the library stops reading and leaves the connection open.
 */
const resetsMax = 900;
const resetsPerS = 33;

export class Http2ServerConnection {
  readonly #session: http2.ServerHttp2Session;
  readonly #options: Http2ServerOptions;
  #draining = false;
  #resets = 0;
  #resetsSinceMs = 0;
  #isEnding = false;

  constructor(stream: Duplex, options: Http2ServerOptions) {
    this.#options = options;
    const { limits } = options;
    this.#session = http2.performServerHandshake(stream, {
      ...blockOptions,
      // More malformed frames than this are an attack.
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      maxSessionMemory: sessionMegabytesMax,
      settings: {
        maxConcurrentStreams: limits.http2StreamsMax,
        initialWindowSize: windowBytes,
        ...blockSettings,
        enablePush: false,
      },
    } as http2.ServerOptions);
    const session = this.#session;
    session.on('error', () => undefined);
    session.on('close', () => options.onClosed());
    session.on(
      'stream',
      (one: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders, _flags: number, raw: string[]) =>
        this.#onStream(one, headers, raw),
    );
    session.setTimeout(limits.idleConnectionMsMax, () => session.close());
    // Ends a connection without a preface, or without SETTINGS after it.
    const { headTimeoutMsMax } = limits;
    const silent = headTimeoutMsMax > 0 ? setTimeout(() => session.destroy(), headTimeoutMsMax) : undefined;
    session.once('remoteSettings', () => clearTimeout(silent));
    session.once('close', () => clearTimeout(silent));
    session.setLocalWindowSize(8 * windowBytes);
    this.#watchBlocks(stream);
  }

  /** Limits the time of a header block: an incomplete block holds memory and the whole connection, since no other frame may come in between. */
  #watchBlocks(stream: Duplex): void {
    const { headTimeoutMsMax } = this.#options.limits;
    // The library reads a plain socket natively, so its bytes are not seen here. Clients connect through tunnels.
    if (headTimeoutMsMax === 0 || stream instanceof Socket) return;
    const reader = new FrameReader();
    let timer: NodeJS.Timeout | undefined;
    stream.on('data', (bytes: Buffer) => {
      reader.read(bytes);
      if (!reader.inBlock) {
        clearTimeout(timer);
        timer = undefined;
      } else
        timer ??= setTimeout(() => {
          this.#options.onRefused(408, "a request's head did not arrive in time");
          this.#session.destroy();
        }, headTimeoutMsMax);
    });
    this.#session.once('close', () => clearTimeout(timer));
  }

  /** Sends GOAWAY: open streams go on, new streams are not accepted. */
  drain(): void {
    if (this.#draining || this.#session.destroyed) return;
    this.#draining = true;
    this.#session.close();
  }

  destroy(): void {
    this.#session.destroy();
  }

  #onStream(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders, raw: string[]): void {
    stream.on('error', () => undefined);
    // The client has already reset the stream: do not start the request.
    if (stream.closed || stream.destroyed) return this.#onReset();
    const refuse = (status: number, why: string): void => {
      this.#options.onRefused(status, why);
      if (stream.destroyed || stream.headersSent) return;
      stream.respond({ ':status': status }, { endStream: true });
      closeOnceSent(stream);
    };
    const tooLarge = blockFault(raw, this.#options.limits);
    if (tooLarge !== undefined) return refuse(431, tooLarge);
    let head: RequestHead;
    try {
      head = requestHeadOf(headers, raw, this.#options.mergeSlashes);
    } catch (error) {
      if (!(error instanceof TargetError)) throw error;
      return refuse(400, error.message);
    }
    const request = new Http2Request(stream, head, this.#options.limits, () => this.#onReset());
    stream.once('aborted', () => {
      if (!request.isResetByUs) this.#onReset();
    });
    this.#options.onRequest(request);
  }

  #onReset(): void {
    const now = Date.now();
    this.#resets = Math.max(0, this.#resets - ((now - this.#resetsSinceMs) / 1000) * resetsPerS) + 1;
    this.#resetsSinceMs = now;
    if (this.#resets <= resetsMax || this.#isEnding || this.#session.destroyed) return;
    this.#isEnding = true;
    this.#options.onRefused(400, 'too many streams were reset');
    // Not within the library's callback: it would continue with a destroyed session, and the process would end (SIGSEGV).
    setImmediate(() => this.#session.destroy(undefined, http2.constants.NGHTTP2_ENHANCE_YOUR_CALM));
  }
}

const methodPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const targetPattern = /^(?:\/[\x21\x22\x24-\x7e]*|\*)$/;

function requestHeadOf(given: http2.IncomingHttpHeaders, raw: string[], mergeSlashes: boolean): RequestHead {
  const method = String(given[':method'] ?? '');
  const target = String(given[':path'] ?? '');
  // The library accepts characters that an HTTP/1 request line cannot contain: forwarded to HTTP/1, they would become more than one line.
  if (!methodPattern.test(method)) throw new TargetError('the method is not a token');
  if (!targetPattern.test(target)) throw new TargetError('the path is invalid');
  const headers = flatten(raw);
  const host = headerOf(headers, 'host');
  const named = given[':authority'] ?? host;
  const { authority, path } = parseTarget(method, target, named, mergeSlashes);
  // RFC 9113, section 8.3.1: with two different names, one could be authorized and the other one routed by.
  if (host !== undefined && normalizeAuthority(host) !== authority)
    throw new TargetError(':authority and host differ');
  removeHeader(headers, 'host');
  return { method, path, authority, scheme: 'http', headers };
}

class Http2Request implements Downstream {
  readonly version = 'HTTP/2';
  readonly hasBody: boolean;
  readonly upgrade = undefined;
  listener: DownstreamListener | undefined;
  #trailers: Headers | undefined;
  #gotTrailers: Headers | undefined;
  #ended = false;
  /** Bytes of content-length that have not arrived yet; undefined without content-length. */
  #due: number | undefined;

  constructor(
    private readonly stream: http2.ServerHttp2Stream,
    readonly head: RequestHead,
    limits: WaypointLimits,
    /** Called when the client aborts its request by a protocol error: the endpoint sees that as a reset. */
    private readonly onFault: () => void,
  ) {
    this.hasBody = !stream.endAfterHeaders;
    if (this.hasBody) {
      const length = headerOf(head.headers, 'content-length');
      if (length !== undefined) this.#due = Number(length);
      stream.on('trailers', (_headers: http2.IncomingHttpHeaders, _flags: number, raw: string[]) => {
        const tooLarge = blockFault(raw, limits);
        if (tooLarge === undefined) this.#gotTrailers = trailersOf(raw);
        else this.#malformed(`the request's trailers contain ${tooLarge}`);
      });
      stream.on('data', (bytes: Buffer) => {
        if (this.#due !== undefined && (this.#due -= bytes.length) < 0) return this.#mismatched();
        this.listener?.onData(bytes);
      });
      stream.on('end', () => {
        this.#ended = true;
        if (stream.aborted) return;
        if (this.#due !== undefined && this.#due !== 0) this.#mismatched();
        else this.listener?.onEnd(this.#gotTrailers);
      });
    }
    stream.on('drain', () => this.listener?.onDrain());
    stream.on('aborted', () => this.#gone());
    stream.on('close', () => this.#gone());
    stream.on('wantTrailers', () => {
      stream.sendTrailers(toHttp2(this.#trailers ?? [], {}));
      this.#finish();
    });
  }

  /** For an HTTP/1 endpoint content-length decides where the next request begins, so a wrong one is refused. */
  #mismatched(): void {
    this.#malformed("the request's body does not match its content-length");
  }

  #malformed(why: string): void {
    const { listener } = this;
    if (!listener) return;
    listener.onGone('malformed', why);
    this.onFault();
  }

  #gone(): void {
    const { listener } = this;
    this.listener = undefined;
    listener?.onGone('left', 'the client reset the stream');
  }

  interim({ status, headers }: ResponseHead): void {
    if (!this.stream.destroyed && !this.stream.headersSent)
      this.stream.additionalHeaders(toHttp2(headers, { ':status': status }));
  }

  respond({ status, headers }: ResponseHead, hasBody: boolean): void {
    const { stream } = this;
    if (stream.destroyed || stream.headersSent) return;
    stream.respond(toHttp2(headers, { ':status': status }), {
      endStream: !hasBody,
      waitForTrailers: hasBody,
      sendDate: false,
    } as http2.ServerStreamResponseOptions);
    if (!hasBody) this.#finish();
  }

  write(bytes: Buffer): boolean {
    return this.stream.destroyed || this.stream.write(bytes);
  }

  end(trailers?: Headers): void {
    this.#trailers = trailers;
    if (this.stream.destroyed) return;
    this.stream.end();
    // Unread bytes of the request must not keep the end of the response from being sent.
    if (this.hasBody && !this.#ended) this.stream.resume();
  }

  /** The response is sent. The rest of the request is not needed, and the client is told so (RFC 9113, section 8.1). */
  #finish(): void {
    if (!this.hasBody || this.#ended) return;
    this.stream.resume();
    closeOnceSent(this.stream);
  }

  upgraded(): void {
    this.abort();
  }

  /** The library reports resets of both sides in the same way. Only the client's own resets count against it. */
  isResetByUs = false;

  abort(): void {
    this.isResetByUs = true;
    this.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  }

  get isPaused(): boolean {
    return this.stream.isPaused();
  }
  pause(): void {
    this.stream.pause();
  }
  resume(): void {
    this.stream.resume();
  }
}
