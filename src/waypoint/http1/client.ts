/** An HTTP/1.1 connection to an endpoint: one request at a time, kept open for the next. */
import type { Duplex } from 'node:stream';
import { keepReadable, type StreamEnd } from '../../hbone/stream-end.js';
import { joinCookies } from '../http/cookies.js';
import type { WaypointLimits } from '../limits.js';
import { removeHeader } from '../http/headers.js';
import type {
  RequestHead,
  ResponseHead,
  Upstream,
  UpstreamFailure,
  UpstreamListener,
} from '../http/http-stream.js';
import type { Headers } from '../http/headers.js';
import { Outbox } from './outbox.js';
import { Http1Parser, HttpSyntaxError, type MessageHead, type ParserEvents } from './parser.js';
import { dropHopByHop, fieldLines } from './write.js';

interface Http1ClientOptions {
  readonly limits: WaypointLimits;
  /** The connection is free for another request. */
  readonly onFree: (connection: Http1ClientConnection) => void;
  readonly onClosed: (connection: Http1ClientConnection) => void;
}

export class Http1ClientConnection implements Upstream, ParserEvents {
  readonly #stream: Duplex;
  readonly #end: StreamEnd;
  readonly #options: Http1ClientOptions;
  readonly #parser: Http1Parser;
  readonly #out: Outbox;
  listener: UpstreamListener | undefined;
  /** Requests so far. Counted by the pool. */
  requests = 0;
  #method = '';
  #upgrade: string | undefined;
  #raw = false;
  #chunked = false;
  #sent = true;
  #responseComplete = false;
  #bodyFollows = false;
  #keepAlive = true;
  #interim = 0;
  #received = false;
  #closed = false;
  /** The connection was used for an earlier request, or was idle: a close before any response may be the endpoint's close of an idle connection. */
  #used = false;

  constructor(stream: Duplex, options: Http1ClientOptions) {
    this.#stream = stream;
    this.#end = keepReadable(stream);
    this.#options = options;
    this.#out = new Outbox(stream, options.limits.backlogBytesMax);
    this.#parser = new Http1Parser('response', this, options.limits);
    stream.on('data', (bytes: Buffer) => this.#onData(bytes));
    stream.on('drain', () => this.listener?.onUpstreamDrain());
    stream.on('end', () => this.#onInputEnd());
    stream.on('error', () => undefined);
    stream.on('close', () => this.#onClose());
  }

  get isOpen(): boolean {
    return !this.#closed && this.#stream.readable && !this.#end.discardsWrites;
  }

  /** `upgrade`: the protocol of the client's Upgrade header. */
  send(
    { method, path, authority, headers }: RequestHead,
    hasBody: boolean,
    upgrade: string | undefined,
  ): void {
    this.#method = method;
    this.#upgrade = upgrade;
    this.#sent = !hasBody;
    this.#responseComplete = false;
    this.#bodyFollows = false;
    this.#received = false;
    this.#interim = 0;
    this.#keepAlive = true;
    this.#out.hasWritten = false;
    // A rule may have added a cookie field.
    joinCookies(headers);
    let text = `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n`;
    let length = false;
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i];
      if (name === 'host' || name === 'te') continue;
      if (name === 'content-length') length = true;
      text += `${name}: ${headers[i + 1]}\r\n`;
    }
    this.#chunked = hasBody && !length;
    if (this.#chunked) text += 'transfer-encoding: chunked\r\n';
    if (upgrade !== undefined) text += `connection: upgrade\r\nupgrade: ${upgrade}\r\n`;
    this.#out.text(`${text}\r\n`);
  }

  write(bytes: Buffer): boolean {
    if (this.#chunked && !this.#raw) {
      this.#out.text(`${bytes.length.toString(16)}\r\n`);
      this.#out.bytes(bytes);
      this.#out.text('\r\n');
    } else this.#out.bytes(bytes);
    return !this.#out.full;
  }

  end(trailers?: Headers): void {
    if (this.#raw) {
      this.#out.end();
      return;
    }
    if (this.#sent) return;
    this.#sent = true;
    if (this.#chunked) this.#out.text(trailers ? `0\r\n${fieldLines(trailers)}\r\n` : '0\r\n\r\n');
    if (this.#responseComplete) this.#free();
  }

  cancel(): void {
    this.listener = undefined;
    this.#end.destroy();
  }

  /** The connection was opened, and waits for its first request: from now on the endpoint may close it as an idle one. */
  keepIdle(): void {
    this.#used = true;
  }

  pause(): void {
    this.#stream.pause();
  }
  resume(): void {
    this.#stream.resume();
  }

  #onData(bytes: Buffer): void {
    if (this.#raw) {
      this.listener?.onResponseData(bytes);
      return;
    }
    if (!this.listener) {
      // Bytes without a request: they would become the start of the next response.
      this.#end.destroy();
      return;
    }
    this.#received = true;
    let at = 0;
    try {
      while (at < bytes.length) {
        if (this.#raw) {
          this.listener?.onResponseData(bytes.subarray(at));
          return;
        }
        if (this.#parser.done) {
          if (this.#responseComplete) break;
          this.#parser.next();
        }
        at = this.#parser.execute(bytes, at);
      }
    } catch (error) {
      if (!(error instanceof HttpSyntaxError)) throw error;
      this.#fail({ kind: 'protocol', why: `the response is malformed: ${error.message}` });
      return;
    }
    if (at < bytes.length) this.#keepAlive = false;
    if (this.#responseComplete && this.#sent) this.#free();
  }

  onHead(head: MessageHead): boolean {
    const { status, headers } = head;
    if (status === 101) {
      if (this.#upgrade === undefined) throw new HttpSyntaxError(400, '101 without a requested upgrade');
      this.#raw = true;
      dropHopByHop(headers, head.connectionOptions);
      headers.push('upgrade', head.upgrade ?? this.#upgrade);
      // From here on each direction ends by itself.
      this.#stream.allowHalfOpen = true;
      this.#out.flush();
      this.listener?.onUpgraded({ status, headers });
      return true;
    }
    dropHopByHop(headers, head.connectionOptions);
    if (status < 200) {
      if (++this.#interim > this.#options.limits.interimMax)
        throw new HttpSyntaxError(400, 'too many interim responses');
      this.listener?.onInterim({ status, headers });
      return true;
    }
    const noBody = this.#method === 'HEAD' || head.length === 0;
    this.#keepAlive = head.keepAlive && (noBody || head.length !== -2);
    // RFC 9110, section 8.6: a client that trusts the field would wait for a body that never arrives.
    if (status === 204) removeHeader(headers, 'content-length');
    if (noBody) this.#responseComplete = true;
    else this.#bodyFollows = true;
    this.listener?.onHead(responseHeadOf(head), !noBody);
    return noBody;
  }
  onData(bytes: Buffer): void {
    this.listener?.onResponseData(bytes);
  }
  onEnd(trailers: Headers | undefined): void {
    if (this.#raw || this.#responseComplete) return;
    // An interim response's end is not the end of the response.
    if (!this.#bodyFollows) return;
    this.#responseComplete = true;
    this.#bodyFollows = false;
    this.listener?.onResponseEnd(trailers);
  }

  #free(): void {
    this.listener = undefined;
    this.#used = true;
    if (!this.#keepAlive || !this.isOpen) {
      this.#end.destroy();
      return;
    }
    this.#parser.next();
    if (this.#stream.isPaused()) this.#stream.resume();
    this.#options.onFree(this);
  }

  #onInputEnd(): void {
    if (this.#end.wasReset) {
      // A reset does not end a response whose length is given by the connection's end.
      this.#end.destroy();
      return;
    }
    if (this.#raw) {
      this.listener?.onResponseEnd(undefined);
      return;
    }
    if (this.listener && this.#parser.finish() && this.#responseComplete) {
      this.#keepAlive = false;
      if (this.#sent) this.#free();
      return;
    }
    this.#end.destroy();
  }

  #onClose(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { listener } = this;
    this.listener = undefined;
    if (listener && !(this.#responseComplete && this.#sent)) {
      listener.onError(this.#closedAhead());
    }
    this.#options.onClosed(this);
  }

  #closedAhead(): UpstreamFailure {
    if (!this.#out.hasWritten)
      return { kind: 'refused', why: 'the connection was closed before the request was written' };
    // `stale`: the endpoint closed an idle connection while the request was in flight.
    return this.#used && !this.#received
      ? { kind: 'stale', why: 'the endpoint had closed the idle connection' }
      : { kind: 'reset', why: 'the endpoint closed the connection before it responded' };
  }

  #fail(failure: UpstreamFailure): void {
    const { listener } = this;
    this.listener = undefined;
    this.#end.destroy();
    listener?.onError(failure);
  }
}

function responseHeadOf({ status, headers }: MessageHead): ResponseHead {
  return { status, headers };
}
