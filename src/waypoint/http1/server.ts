/** A client's HTTP/1 connection: one request at a time, with responses in order. */
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { joinCookies } from '../http/cookies.js';
import type { WaypointLimits } from '../limits.js';
import type { Downstream, DownstreamListener, RequestHead, ResponseHead } from '../http/http-stream.js';
import type { Headers } from '../http/headers.js';
import { headerOf } from '../http/headers.js';
import { parseTarget } from '../http/target.js';
import { TargetError } from '../../policy/path.js';
import { Outbox } from './outbox.js';
import { lingeringClose } from '../http/lingering-close.js';
import { Http1Parser, HttpSyntaxError, type MessageHead, type ParserEvents } from './parser.js';
import { dropHopByHop, fieldLines, statusLine } from './write.js';

interface Http1ServerOptions {
  readonly limits: WaypointLimits;
  /** False: `//` in a path is not merged. */
  readonly mergeSlashes: boolean;
  /** Called when a request's head is complete. The callee takes the request by setting its listener. */
  readonly onRequest: (request: Downstream) => void;
  /** Called for the log when the connection is refused before a request was parsed. */
  readonly onRefused: (status: number, why: string) => void;
  /** Called when a client exceeds the limits of a lingering close: it sent too many bytes, or for too long, after the last response. */
  readonly onLingerLimit: () => void;
  readonly onClosed: () => void;
}

const lastChunk = '0\r\n\r\n';

export class Http1ServerConnection implements ParserEvents {
  readonly #stream: Duplex;
  readonly #options: Http1ServerOptions;
  readonly #parser: Http1Parser;
  readonly out: Outbox;
  #rest: Buffer | undefined;
  #current: Http1Request | undefined;
  #timer: NodeJS.Timeout | undefined;
  #draining = false;
  #closed = false;
  #inputEnded = false;
  #reading = false;
  #lingers = false;
  /** A request's head has begun, or it is the first on the connection: the head timeout runs, and further bytes do not extend it. */
  #headDue = true;

  constructor(stream: Duplex, options: Http1ServerOptions) {
    this.#stream = stream;
    this.#options = options;
    this.out = new Outbox(stream, options.limits.backlogBytesMax);
    this.#parser = new Http1Parser('request', this, options.limits);
    stream.on('data', (bytes: Buffer) => this.#onData(bytes));
    stream.on('drain', () => this.#current?.listener?.onDrain());
    stream.on('end', () => this.#onInputEnd());
    stream.on('error', () => undefined);
    stream.on('close', () => this.#onClose());
    this.#expectHead();
  }

  /** Bytes that protocol detection has read. */
  first(bytes: Buffer): void {
    this.#onData(bytes);
  }

  get idle(): boolean {
    return this.#current === undefined && !this.#parser.busy;
  }

  /** The request under way is the last, and its response says so. An idle connection ends after `drainIdleMs`. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    // A request may be in flight: it is served as the last one.
    if (this.idle) this.#expect(this.#options.limits.drainIdleMs);
  }
  get draining(): boolean {
    return this.#draining;
  }

  destroy(): void {
    this.#stream.destroy();
  }

  /** Sets the connection's timer. One timer is refreshed rather than created for each request, since that costs less. */
  #expect(ms: number): void {
    if (this.#timer && this.#timerMs === ms) this.#timer.refresh();
    else {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      // 0: no limit.
      if (ms === 0) return;
      this.#timerMs = ms;
      this.#timer = setTimeout(() => this.#onTimeout(), ms);
      this.#timer.unref();
    }
  }
  #timerMs = 0;
  #expectHead(): void {
    const { headTimeoutMsMax, idleConnectionMsMax, drainIdleMs } = this.#options.limits;
    // A response that began before the drain told the client that the connection stays open: the next request is served as the last.
    const idleMs = this.#draining ? drainIdleMs : idleConnectionMsMax;
    this.#expect(this.#headDue ? headTimeoutMsMax : idleMs);
  }

  #onTimeout(): void {
    // A request under way has its own timeouts (exchange/idle-timeouts.ts).
    if (this.#current) return;
    if (this.#parser.busy) this.#refuse(408, "a request's head did not arrive in time");
    else this.#endIdle();
  }

  #endIdle(): void {
    this.out.end();
    this.#linger(false);
  }

  #onData(bytes: Buffer): void {
    if (this.#rest) {
      this.#rest = Buffer.concat([this.#rest, bytes]);
      // Pipelined requests are not read ahead of their responses.
      if (this.#rest.length > this.#options.limits.headBytesMax) this.#stream.pause();
      return;
    }
    this.#consume(bytes);
  }

  #consume(bytes: Buffer): void {
    let at = 0;
    this.#reading = true;
    try {
      while (at < bytes.length) {
        if (this.#current?.raw === true) {
          this.#current.listener?.onData(at === 0 ? bytes : bytes.subarray(at));
          return;
        }
        if (this.#parser.done) {
          if (this.#current || this.#closed) {
            this.#rest = Buffer.from(bytes.subarray(at));
            return;
          }
          this.#parser.next();
        }
        at = this.#parser.execute(bytes, at);
      }
      if (this.#parser.busy && !this.#current && !this.#headDue) {
        this.#headDue = true;
        this.#expectHead();
      }
    } catch (error) {
      const known = error instanceof HttpSyntaxError;
      if (!known && !(error instanceof TargetError)) throw error;
      const { listener } = this.#current ?? {};
      if (this.#current) {
        this.#current.broken = known ? error.status : 400;
        listener?.onGone('malformed', `the request is malformed: ${error.message}`);
      } else this.#refuse(known ? error.status : 400, error.message);
    } finally {
      this.#reading = false;
    }
  }

  onHead(head: MessageHead): boolean {
    this.#headDue = false;
    const request = new Http1Request(this, head, requestHeadOf(head, this.#options.mergeSlashes));
    this.#current = request;
    this.#options.onRequest(request);
    return false;
  }
  onData(bytes: Buffer): void {
    this.#current?.listener?.onData(bytes);
  }
  onEnd(trailers: Headers | undefined): void {
    const current = this.#current;
    if (!current) return;
    current.awaitsBody = false;
    current.listener?.onEnd(trailers);
  }

  #onInputEnd(): void {
    this.#inputEnded = true;
    const current = this.#current;
    if (current?.raw === true) {
      current.listener?.onEnd(undefined);
      return;
    }
    // A client may close its half after its last request and wait for the response.
    if (current) {
      if (this.#parser.finish()) return;
      current.listener?.onGone('left', 'the client closed the connection within its request');
      this.#stream.destroy();
    } else if (!this.#rest) this.#endIdle();
  }

  #onClose(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    const current = this.#current;
    this.#current = undefined;
    current?.listener?.onGone('left', 'the client closed the connection');
    this.#options.onClosed();
  }

  /** Responds to bytes that are no request and ends the connection, since the start of the next request is unknown. */
  #refuse(status: number, why: string): void {
    if (this.#closed) return;
    this.#options.onRefused(status, why);
    this.out.text(`${statusLine(status)}connection: close\r\ncontent-length: 0\r\n\r\n`);
    this.out.end();
    this.#linger(true);
  }

  #linger(isUploading: boolean): void {
    if (this.#lingers) return;
    this.#lingers = true;
    clearTimeout(this.#timer);
    const { limits, onLingerLimit } = this.#options;
    if (!this.#closed) lingeringClose(this.#stream, { limits, isUploading, onLimit: onLingerLimit });
  }

  /** The request's response is complete. */
  finished(request: Http1Request, keepAlive: boolean): void {
    if (this.#current !== request) return;
    this.#current = undefined;
    if (!keepAlive || (this.#inputEnded && !this.#rest) || request.awaitsBody) {
      this.out.end();
      // The rest of the request's body is read and discarded.
      this.#linger(request.awaitsBody);
      return;
    }
    this.#expectHead();
    if (!this.#rest) {
      if (this.#stream.isPaused()) this.#stream.resume();
      return;
    }
    // Not in the same turn as the response, since a long pipeline would overflow the stack. Bytes that arrive until then are queued behind it.
    setImmediate(() => {
      const rest = this.#rest;
      if (this.#closed || !rest) return;
      this.#rest = undefined;
      if (this.#stream.isPaused()) this.#stream.resume();
      this.#consume(rest);
      if (this.#inputEnded && !this.#current && !this.#rest) this.#endIdle();
    });
  }

  aborted(request: Http1Request): void {
    if (this.#current !== request) return;
    this.#current = undefined;
    // resetAndDestroy() ends the socket first, and an HTTP/1.0 client takes that end as the response's. These are its effects without the end.
    if (this.#stream instanceof Socket) Object.assign(this.#stream, { resetAndClosing: true }).destroy();
    else {
      // What the endpoint sent ahead of its failure may have arrived in this turn of the event loop, and is not written yet.
      this.out.flush();
      this.#stream.destroy(new Error('reset'));
    }
  }

  get isPaused(): boolean {
    return this.#stream.isPaused();
  }
  pause(): void {
    this.#stream.pause();
  }
  resume(): void {
    if (!this.#rest) this.#stream.resume();
  }
  /** Switches to raw bytes. Bytes that arrived behind the request's head are part of them. */
  becomeRaw(request: Http1Request): void {
    clearTimeout(this.#timer);
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest && !this.#reading) request.listener?.onData(rest);
    if (this.#stream.isPaused()) this.#stream.resume();
  }
}

function requestHeadOf(head: MessageHead, mergeSlashes: boolean): RequestHead {
  const host = headerOf(head.headers, 'host');
  const { authority, path } = parseTarget(head.method, head.target, host, mergeSlashes);
  joinCookies(head.headers);
  return { method: head.method, path, authority, scheme: 'http', headers: head.headers };
}

class Http1Request implements Downstream {
  readonly version: 'HTTP/1.0' | 'HTTP/1.1';
  readonly hasBody: boolean;
  listener: DownstreamListener | undefined;
  /** The connection was upgraded: raw bytes follow instead of requests. */
  raw = false;
  awaitsBody: boolean;
  /** The response status for a request whose body is malformed. */
  broken: number | undefined;
  #chunked = false;
  #keepAlive: boolean;
  /** No body bytes may follow the response's head, whatever the upstream sends: the client would read them as the next response. */
  #isBodiless: boolean;
  #over = false;

  constructor(
    private readonly connection: Http1ServerConnection,
    message: MessageHead,
    readonly head: RequestHead,
  ) {
    this.version = message.minor === 1 ? 'HTTP/1.1' : 'HTTP/1.0';
    this.hasBody = message.length !== 0;
    this.awaitsBody = this.hasBody;
    this.#keepAlive = message.keepAlive;
    this.#isBodiless = message.method === 'HEAD';
    this.upgrade = message.upgrade;
    dropHopByHop(head.headers, message.connectionOptions);
  }
  /** The protocol of the client's Upgrade header. */
  readonly upgrade: string | undefined;

  interim(head: ResponseHead): void {
    // HTTP/1.0 has no interim responses.
    if (this.#over || this.version === 'HTTP/1.0') return;
    this.connection.out.text(`${statusLine(head.status)}${fieldLines(head.headers)}\r\n`);
  }

  respond({ status, headers }: ResponseHead, hasBody: boolean): void {
    if (this.#over) return;
    if (this.connection.draining) this.#keepAlive = false;
    // The rest of the body may never be read, and no request can follow it. As in Envoy, the response closes the connection in any case.
    if (this.awaitsBody && status !== 101) this.#keepAlive = false;
    const length = headerOf(headers, 'content-length');
    let text = statusLine(status) + fieldLines(headers);
    if (status === 101) {
      this.connection.out.text(`${text}connection: upgrade\r\n\r\n`);
      return;
    }
    if (status === 204 || status === 304) this.#isBodiless = true;
    if (hasBody && length === undefined && !this.#isBodiless) {
      if (this.version === 'HTTP/1.1') {
        this.#chunked = true;
        text += 'transfer-encoding: chunked\r\n';
      } else this.#keepAlive = false;
    } else if (!hasBody && length === undefined && status >= 200 && !this.#isBodiless) {
      text += 'content-length: 0\r\n';
    }
    if (!this.#keepAlive) text += 'connection: close\r\n';
    else if (this.version === 'HTTP/1.0') text += 'connection: keep-alive\r\n';
    this.connection.out.text(`${text}\r\n`);
    if (!hasBody) this.#finish();
  }

  write(bytes: Buffer): boolean {
    const { out } = this.connection;
    if (this.#over || this.#isBodiless) return true;
    if (this.#chunked && !this.raw) {
      out.text(`${bytes.length.toString(16)}\r\n`);
      out.bytes(bytes);
      out.text('\r\n');
    } else out.bytes(bytes);
    return !out.full;
  }

  end(trailers?: Headers): void {
    if (this.#over) return;
    if (this.raw) {
      this.#over = true;
      this.connection.out.end();
      return;
    }
    if (this.#chunked) this.connection.out.text(trailers ? `0\r\n${fieldLines(trailers)}\r\n` : lastChunk);
    this.#finish();
  }

  upgraded(): void {
    this.raw = true;
    this.#chunked = false;
    this.connection.becomeRaw(this);
  }

  #finish(): void {
    this.#over = true;
    this.connection.finished(this, this.#keepAlive);
  }

  abort(): void {
    if (this.#over && !this.raw) return;
    this.#over = true;
    this.connection.aborted(this);
  }

  get isPaused(): boolean {
    return this.connection.isPaused;
  }
  pause(): void {
    this.connection.pause();
  }
  resume(): void {
    this.connection.resume();
  }
}
