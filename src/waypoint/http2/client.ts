/** An HTTP/2 connection to an endpoint, by prior knowledge: each request is a stream. */
import { errorCode } from '../../http2/codes.js';
import { createConnection } from '../../http2/connection.js';
import type {
  ConnectionListener,
  Fields,
  Http2Connection,
  Http2Stream,
  StreamListener,
  StreamReset,
  Transport,
} from '../../http2/http2.js';
import { isGrpcType } from '../http/grpc.js';
import { headerOf, type Headers } from '../http/headers.js';
import type { RequestHead, Upstream, UpstreamFailure, UpstreamListener } from '../http/http-stream.js';
import type { WaypointLimits } from '../limits.js';
import { failureOf } from './failure.js';
import { appendFields, blockFault, readFraming, trailersOf } from './head.js';
import { clientOptions } from './options.js';

export class Http2ClientConnection implements ConnectionListener {
  readonly #connection: Http2Connection;
  /** Requests that have not ended, also those that are not sent yet. */
  streams = 0;
  /** Requests so far. */
  requests = 0;
  idleSinceMs = Date.now();
  /** The connection was used for an earlier response. */
  hasResponded = false;
  /** The endpoint's SETTINGS have arrived. */
  isSettled = false;

  constructor(
    transport: Transport,
    readonly limits: WaypointLimits,
    private readonly events: {
      /** The connection may accept further streams: one has ended, or the endpoint's SETTINGS have arrived. */
      onFree(): void;
      onClosed(): void;
    },
  ) {
    this.#connection = createConnection(transport, clientOptions(limits), this);
  }

  /** Whether the connection accepts another stream. */
  get isOpen(): boolean {
    // The endpoint's SETTINGS say how many streams it accepts. One is sent ahead of them.
    return this.#connection.canOpen && (this.isSettled || this.streams === 0);
  }

  request(): Upstream {
    this.streams++;
    this.requests++;
    return new Http2Upstream(this, this.hasResponded);
  }

  /** Opens the stream of a request. Undefined: the connection accepts none any more. */
  open(fields: Fields, endStream: boolean): Http2Stream | undefined {
    const stream = this.#connection.request(fields, endStream);
    if (!stream) this.release();
    return stream;
  }

  release(): void {
    if (--this.streams === 0) this.idleSinceMs = Date.now();
    this.events.onFree();
  }

  /** Closes the connection after its open streams. */
  close(): void {
    this.#connection.drain();
  }

  onStream(): void {
    // Only a client opens streams: server push is disabled.
  }
  onSettings(): void {
    this.isSettled = true;
    // The endpoint may accept more streams now.
    this.events.onFree();
  }
  onGoAway(): void {
    // `canOpen` follows it, and the connection closes after its last stream.
  }
  onStreamClosed(): void {
    this.release();
  }
  onClose(): void {
    this.events.onClosed();
  }
}

class Http2Upstream implements Upstream, StreamListener {
  listener: UpstreamListener | undefined = undefined;
  #stream: Http2Stream | undefined = undefined;
  #isSent = false;
  #hasHead = false;
  #interim = 0;

  constructor(
    private readonly connection: Http2ClientConnection,
    /** The connection was used for an earlier response. */
    private readonly used: boolean,
  ) {}

  send({ method, path, authority, scheme, headers }: RequestHead, hasBody: boolean): void {
    this.#isSent = true;
    const fields = [':method', method, ':scheme', scheme, ':authority', authority, ':path', path];
    appendFields(fields, headers);
    // RFC 9113, section 8.2.2: `trailers` is the only allowed value of te; gRPC servers require it.
    if (headerOf(headers, 'te') !== undefined || isGrpcType(headerOf(headers, 'content-type')))
      fields.push('te', 'trailers');
    const stream = this.connection.open(fields, !hasBody);
    if (stream) {
      stream.listener = this;
      this.#stream = stream;
      return;
    }
    // The connection closed after it was chosen.
    const why = 'the connection ended before the request was sent';
    setImmediate(() => this.listener?.onError({ kind: 'refused', why }));
  }

  onInterim(fields: Fields): void {
    const { limits } = this.connection;
    if (++this.#interim > limits.interimMax)
      return this.#fail({ kind: 'protocol', why: 'too many interim responses' });
    if (this.#isTooLarge(fields)) return;
    const headers = fields.slice(2);
    if (!this.#isMalformed(readFraming(headers).fault))
      this.listener?.onInterim({ status: Number(fields[1]), headers });
  }

  onHead(fields: Fields, endStream: boolean): void {
    this.connection.hasResponded = true;
    if (this.#isTooLarge(fields)) return;
    const status = Number(fields[1]);
    if (!(status >= 200 && status <= 599))
      return this.#fail({ kind: 'protocol', why: `the response's status is ${status}` });
    const headers = fields.slice(2);
    if (this.#isMalformed(readFraming(headers).fault)) return;
    this.#hasHead = true;
    const { listener } = this;
    if (endStream) this.listener = undefined;
    listener?.onHead({ status, headers }, !endStream);
  }

  onData(bytes: Buffer): void {
    this.listener?.onResponseData(bytes);
  }

  onEnd(trailers: Fields | undefined): void {
    if (trailers !== undefined && this.#isTooLarge(trailers)) return;
    const { listener } = this;
    this.listener = undefined;
    listener?.onResponseEnd(trailers && trailersOf(trailers));
  }

  onDrain(): void {
    this.listener?.onUpstreamDrain();
  }

  onReset(reset: StreamReset): void {
    const isQuiet = !this.#hasHead && this.#interim === 0;
    this.#fail(failureOf(reset, { isQuiet, used: this.used }));
  }

  /** True: the header block is too large, and this request failed. Other streams go on. */
  #isTooLarge(fields: Fields): boolean {
    const fault = blockFault(fields, this.connection.limits);
    if (fault !== undefined) this.#fail({ kind: 'protocol', why: `the response contains ${fault}` });
    return fault !== undefined;
  }

  #isMalformed(fault: string | undefined): boolean {
    if (fault !== undefined) this.#fail({ kind: 'protocol', why: `the response's ${fault}` });
    return fault !== undefined;
  }

  #fail(failure: UpstreamFailure): void {
    const { listener } = this;
    this.listener = undefined;
    this.#stream?.reset(errorCode.cancel);
    listener?.onError(failure);
  }

  write(bytes: Buffer): boolean {
    return this.#stream?.write(bytes) ?? true;
  }
  end(trailers?: Headers): void {
    this.#stream?.end(trailers && appendFields([], trailers));
  }
  cancel(): void {
    this.listener = undefined;
    if (this.#stream) this.#stream.reset(errorCode.cancel);
    else if (!this.#isSent) {
      this.#isSent = true;
      this.connection.release();
    }
  }
  pause(): void {
    this.#stream?.pause();
  }
  resume(): void {
    this.#stream?.resume();
  }
}
