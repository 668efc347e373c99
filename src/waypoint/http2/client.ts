/** An HTTP/2 connection to an endpoint, by prior knowledge: each request is a stream. */
import http2 from 'node:http2';
import type { Duplex } from 'node:stream';
import { errorText } from '../../base/errors.js';
import { sessionMegabytesMax } from '../../base/session-memory.js';
import { keepReadable } from '../../hbone/stream-end.js';
import { isGrpcType } from '../http/grpc.js';
import type { WaypointLimits } from '../limits.js';
import type { RequestHead, Upstream, UpstreamFailure, UpstreamListener } from '../http/http-stream.js';
import type { Headers } from '../http/headers.js';
import { headerOf } from '../http/headers.js';
import { blockFault, blockOptions, blockSettings } from './block-limits.js';
import { failureOf, type ConnectionEnd } from './failure.js';
import { flatten, toHttp2, trailersOf } from './headers.js';

const windowBytes = 1 << 20;

export class Http2ClientConnection {
  readonly #session: http2.ClientHttp2Session;
  readonly #transport: Duplex;
  #closing = false;
  #end: ConnectionEnd = {};
  #hasResponded = false;
  streams = 0;
  idleSinceMs = Date.now();

  constructor(
    stream: Duplex,
    private readonly limits: WaypointLimits,
    private readonly events: {
      /** A stream has ended, so that another one may be opened. */
      onFree(): void;
      onClosed(): void;
    },
  ) {
    this.#transport = stream;
    this.#session = http2.connect('http://endpoint', {
      createConnection: () => stream,
      maxSessionMemory: sessionMegabytesMax,
      ...blockOptions,
      settings: { ...blockSettings, initialWindowSize: windowBytes, enablePush: false },
    });
    const session = this.#session;
    session.on('error', (error: NodeJS.ErrnoException) => {
      // The endpoint's own GOAWAY has another code: this one means bytes that the library cannot parse.
      if (error.code === 'ERR_HTTP2_ERROR') this.#end = { ...this.#end, unreadable: errorText(error) };
    });
    session.once('connect', () => session.setLocalWindowSize(8 * windowBytes));
    session.on('goaway', (_code: number, lastStreamId: number) => {
      this.#closing = true;
      this.#end = { ...this.#end, lastStreamId };
    });
    session.once('close', () => {
      this.#closing = true;
      this.events.onClosed();
    });
  }

  /** Whether the connection accepts another stream. */
  get isOpen(): boolean {
    const most = this.#session.remoteSettings?.maxConcurrentStreams ?? 100;
    const session = this.#session;
    return !this.#closing && !session.closed && !session.destroyed && !this.#isCut && this.streams < most;
  }

  /** The transport has ended, even if the session does not know it yet. */
  get #isCut(): boolean {
    const { destroyed, readable, writable } = this.#transport;
    return destroyed || !readable || !writable;
  }

  request(): Upstream {
    this.streams++;
    const used = this.#hasResponded;
    return new Http2Upstream(this.#session, this.limits, used, {
      onResponse: () => (this.#hasResponded = true),
      onReleased: () => {
        this.streams--;
        this.events.onFree();
        if (this.streams > 0) return;
        this.idleSinceMs = Date.now();
        if (this.#closing) this.#session.close();
      },
      end: () => ({ ...this.#end, isCut: this.#isCut || this.#session.destroyed }),
    });
  }

  /** Closes the connection after its open streams. */
  close(): void {
    this.#closing = true;
    this.#session.close();
  }
}

interface Connection {
  onResponse(): void;
  onReleased(): void;
  end(): ConnectionEnd;
}

class Http2Upstream implements Upstream {
  listener: UpstreamListener | undefined;
  #stream: http2.ClientHttp2Stream | undefined;
  #trailers: Headers | undefined;
  #gotTrailers: Headers | undefined;
  #headReceived = false;
  #interim = 0;
  #released = false;
  #isHead = false;
  /** Bytes of content-length that have not arrived yet; undefined without content-length. */
  #due: number | undefined;

  constructor(
    private readonly session: http2.ClientHttp2Session,
    private readonly limits: WaypointLimits,
    /** The connection was used for an earlier response. */
    private readonly used: boolean,
    private readonly connection: Connection,
  ) {}

  send({ method, path, authority, scheme, headers }: RequestHead, hasBody: boolean): void {
    this.#isHead = method === 'HEAD';
    let stream: http2.ClientHttp2Stream;
    try {
      const pseudo = { ':method': method, ':path': path, ':authority': authority, ':scheme': scheme };
      // RFC 9113, section 8.2.2: `trailers` is the only allowed value of te; gRPC servers require it.
      const trailers = headerOf(headers, 'te') !== undefined || isGrpcType(headerOf(headers, 'content-type'));
      stream = this.session.request(
        toHttp2(headers, { ...pseudo, ...(trailers ? { te: 'trailers' } : {}) }),
        {
          endStream: !hasBody,
          waitForTrailers: hasBody,
        },
      );
    } catch (error) {
      // The session closed after it was chosen.
      this.#release();
      setImmediate(() => this.listener?.onError({ kind: 'refused', why: errorText(error) }));
      return;
    }
    this.#stream = stream;
    const end = keepReadable(stream);
    stream.on('error', () => undefined);
    stream.on('headers', (given: http2.IncomingHttpHeaders, _flags: number, raw: string[]) => {
      const status = Number(given[':status']);
      if (++this.#interim > this.limits.interimMax)
        return this.#fail({ kind: 'protocol', why: 'too many interim responses' });
      if (this.#isTooLarge(raw)) return;
      this.listener?.onInterim({ status, headers: flatten(raw) });
    });
    stream.on('response', (given: http2.IncomingHttpHeaders, flags: number, raw: string[]) => {
      this.connection.onResponse();
      if (this.#isTooLarge(raw)) return;
      const isEnd = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      // Registered here, not before: over a tunnel Node reports data that arrived together with its head before that head.
      stream.on('data', (bytes: Buffer) => {
        if (this.#due !== undefined && (this.#due -= bytes.length) < 0) return this.#mismatched();
        this.listener?.onResponseData(bytes);
      });
      const head = { status: Number(given[':status']), headers: flatten(raw) };
      if (!(head.status >= 200 && head.status <= 599))
        return this.#fail({ kind: 'protocol', why: `the response's status is ${head.status}` });
      this.#headReceived = true;
      const length = headerOf(head.headers, 'content-length');
      if (length !== undefined && !isEnd && !this.#isHead && head.status !== 304) this.#due = Number(length);
      this.listener?.onHead(head, !isEnd);
      if (isEnd) this.listener = undefined;
    });
    stream.on('trailers', (_given: http2.IncomingHttpHeaders, _flags: number, raw: string[]) => {
      if (!this.#isTooLarge(raw)) this.#gotTrailers = trailersOf(raw);
    });
    stream.on('drain', () => this.listener?.onUpstreamDrain());
    stream.on('end', () => {
      // A response that has ended is complete, even if the endpoint does not want the rest of the request (RFC 9113, section 8.1).
      if (end.wasReset || !this.#headReceived) return;
      if (this.#due !== undefined && this.#due !== 0) return this.#mismatched();
      const { listener } = this;
      this.listener = undefined;
      listener?.onResponseEnd(this.#gotTrailers);
    });
    stream.on('close', () => {
      this.#release();
      const seen = { isQuiet: !this.#headReceived && this.#interim === 0, used: this.used };
      this.#fail(failureOf(stream.rstCode ?? 0, stream.id, this.connection.end(), seen));
    });
    stream.on('wantTrailers', () => stream.sendTrailers(toHttp2(this.#trailers ?? [], {})));
  }

  /** True: the header block is too large, and this request failed. Other streams go on. */
  #isTooLarge(raw: readonly string[]): boolean {
    const fault = blockFault(raw, this.limits);
    if (fault !== undefined) this.#fail({ kind: 'protocol', why: `the response contains ${fault}` });
    return fault !== undefined;
  }

  /** For an HTTP/1 client content-length decides where the next response begins, so a wrong one is an error. */
  #mismatched(): void {
    this.#fail({ kind: 'protocol', why: "the response's body does not match its content-length" });
  }

  #release(): void {
    if (this.#released) return;
    this.#released = true;
    this.connection.onReleased();
  }

  #fail(failure: UpstreamFailure): void {
    const { listener } = this;
    this.listener = undefined;
    if (this.#stream && !this.#stream.closed) this.#stream.close(http2.constants.NGHTTP2_CANCEL);
    listener?.onError(failure);
  }

  write(bytes: Buffer): boolean {
    const stream = this.#stream;
    return !stream || stream.destroyed || stream.writableEnded || stream.write(bytes);
  }
  end(trailers?: Headers): void {
    this.#trailers = trailers;
    if (this.#stream && !this.#stream.destroyed) this.#stream.end();
  }
  cancel(): void {
    this.listener = undefined;
    if (!this.#stream) this.#release();
    else if (!this.#stream.closed) this.#stream.close(http2.constants.NGHTTP2_CANCEL);
    // The endpoint has reset the stream: discard what it sent before.
    else keepReadable(this.#stream).destroy();
  }
  pause(): void {
    this.#stream?.pause();
  }
  resume(): void {
    this.#stream?.resume();
  }
}
