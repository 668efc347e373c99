/** A client's connection that speaks HTTP/2, by prior knowledge: each stream is a request. */
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
  /** False: `//` of a path stays. */
  readonly mergeSlashes: boolean;
  readonly onRequest: (request: Downstream) => void;
  readonly onRefused: (status: number, why: string) => void;
  readonly onClosed: () => void;
}

const windowBytes = 1 << 20;
/**
 * Streams that a client opens and resets (CVE-2023-44487): so many at once, and so many a second. A little below what the library
 * allows: it stops reading then, and leaves the connection open.
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
      // Malformed frames beyond this are an attack.
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
    // Silence after the preface, or no preface at all.
    const { headTimeoutMsMax } = limits;
    const silent = headTimeoutMsMax > 0 ? setTimeout(() => session.destroy(), headTimeoutMsMax) : undefined;
    session.once('remoteSettings', () => clearTimeout(silent));
    session.once('close', () => clearTimeout(silent));
    session.setLocalWindowSize(8 * windowBytes);
    this.#watchBlocks(stream);
  }

  /** Half a header block holds memory and the whole connection: no other frame may come in between. */
  #watchBlocks(stream: Duplex): void {
    const { headTimeoutMsMax } = this.#options.limits;
    // Of a plain socket the library reads without us. Clients come by tunnels.
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
          this.#options.onRefused(408, 'the head of a request did not come in time');
          this.#session.destroy();
        }, headTimeoutMsMax);
    });
    this.#session.once('close', () => clearTimeout(timer));
  }

  /** GOAWAY: streams that are open go on, no new ones. */
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
    // Reset in the same breath: nobody begins what nobody waits for.
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
    // Not from within the library's own call: it goes on with a session that is no more, and the process ends (SIGSEGV).
    setImmediate(() => this.#session.destroy(undefined, http2.constants.NGHTTP2_ENHANCE_YOUR_CALM));
  }
}

const methodPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const targetPattern = /^(?:\/[\x21\x22\x24-\x7e]*|\*)$/;

function requestHeadOf(given: http2.IncomingHttpHeaders, raw: string[], mergeSlashes: boolean): RequestHead {
  const method = String(given[':method'] ?? '');
  const target = String(given[':path'] ?? '');
  // The library lets pass what a request line of HTTP/1 could not hold: there it would be more than one line.
  if (!methodPattern.test(method)) throw new TargetError('the method is no token');
  if (!targetPattern.test(target)) throw new TargetError('the path cannot be read');
  const headers = flatten(raw);
  const host = headerOf(headers, 'host');
  const named = given[':authority'] ?? host;
  const { authority, path } = parseTarget(method, target, named, mergeSlashes);
  // RFC 9113, section 8.3.1: one of two different names would be judged, the other gone by.
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
  /** What content-length has announced and did not come yet; undefined where it announced nothing. */
  #due: number | undefined;

  constructor(
    private readonly stream: http2.ServerHttp2Stream,
    readonly head: RequestHead,
    limits: WaypointLimits,
    /** The client broke its request off by a fault: for its endpoint that is a reset. */
    private readonly onFault: () => void,
  ) {
    this.hasBody = !stream.endAfterHeaders;
    if (this.hasBody) {
      const length = headerOf(head.headers, 'content-length');
      if (length !== undefined) this.#due = Number(length);
      stream.on('trailers', (_headers: http2.IncomingHttpHeaders, _flags: number, raw: string[]) => {
        const tooLarge = blockFault(raw, limits);
        if (tooLarge === undefined) this.#gotTrailers = trailersOf(raw);
        else this.#malformed(`the request's trailers have ${tooLarge}`);
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

  /** To an endpoint of HTTP/1 it would say where the next request begins. */
  #mismatched(): void {
    this.#malformed('the request is not as long as it says');
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
    // What is still to come must not keep the end from being sent.
    if (this.hasBody && !this.#ended) this.stream.resume();
  }

  /** The answer is sent; what is still to come of the request is of no use, and its client is told so (RFC 9113, section 8.1). */
  #finish(): void {
    if (!this.hasBody || this.#ended) return;
    this.stream.resume();
    closeOnceSent(this.stream);
  }

  upgraded(): void {
    this.abort();
  }

  /** The library tells of resets of either side in the same way. Only the client's own count against it. */
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
