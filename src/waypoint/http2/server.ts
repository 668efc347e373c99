/** A client's HTTP/2 connection, by prior knowledge: each stream is a request. */
import { errorCode } from '../../http2/codes.js';
import { createConnection } from '../../http2/connection.js';
import { Bucket, floodRates } from '../../http2/floods.js';
import type {
  ConnectionEnd,
  ConnectionListener,
  Fields,
  Http2Connection,
  Http2Stream,
  Transport,
} from '../../http2/http2.js';
import { normalizeAuthority } from '../../policy/host.js';
import { TargetError } from '../../policy/path.js';
import type { Downstream, RequestHead } from '../http/http-stream.js';
import { parseTarget } from '../http/target.js';
import type { WaypointLimits } from '../limits.js';
import { blockFault, readFraming, statusText } from './head.js';
import { serverOptions } from './options.js';
import { Http2Request } from './request.js';

interface Http2ServerOptions {
  readonly limits: WaypointLimits;
  /** False: `//` in a path is not merged. */
  readonly mergeSlashes: boolean;
  readonly onRequest: (request: Downstream) => void;
  /** A request was refused, or the connection ended because of what the client sent. */
  readonly onRefused: (status: number, why: string) => void;
  /** The connection ended because the client exceeded a limit of frames that cost work and carry nothing. */
  readonly onFlood: () => void;
  readonly onClosed: () => void;
}

export class Http2ServerConnection implements ConnectionListener {
  readonly #connection: Http2Connection;
  readonly #options: Http2ServerOptions;
  /** Requests that the client made us abort by a violation that only the codec sees (CVE-2025-8671). */
  readonly #faults = new Bucket(floodRates.resets);
  #isFlooded = false;
  #idleTimer: NodeJS.Timeout | undefined;
  /** Without a request since this time, by the monotonic clock. */
  #idleSinceMs = performance.now();

  constructor(transport: Transport, options: Http2ServerOptions) {
    this.#options = options;
    this.#connection = createConnection(transport, serverOptions(options.limits), this);
    this.#watchIdle(options.limits.idleConnectionMsMax);
  }

  /** Sends GOAWAY: open streams go on, new streams are not accepted. */
  drain(): void {
    this.#connection.drain();
  }

  destroy(): void {
    this.#connection.destroy();
  }

  /** One timer for the connection's whole life: requests do not touch it. */
  #watchIdle(ms: number): void {
    const { idleConnectionMsMax } = this.#options.limits;
    if (idleConnectionMsMax === 0) return;
    this.#idleTimer = setTimeout(() => {
      const idleMs = this.#connection.openStreams > 0 ? 0 : performance.now() - this.#idleSinceMs;
      if (idleMs >= idleConnectionMsMax) this.#connection.drain();
      else this.#watchIdle(Math.max(1, idleConnectionMsMax - idleMs));
    }, ms);
    this.#idleTimer.unref();
  }

  onStream(stream: Http2Stream, fields: Fields, endStream: boolean): void {
    const { limits, mergeSlashes, onRequest } = this.#options;
    const tooLarge = blockFault(fields, limits);
    if (tooLarge !== undefined) return this.#refuse(stream, 431, tooLarge);
    let head: RequestHead;
    try {
      head = parseRequest(fields, mergeSlashes);
    } catch (error) {
      if (!(error instanceof TargetError)) throw error;
      return this.#refuse(stream, 400, error.message);
    }
    onRequest(new Http2Request(stream, head, !endStream, limits, this));
  }

  #refuse(stream: Http2Stream, status: number, why: string): void {
    this.#options.onRefused(status, why);
    stream.respond([':status', statusText(status)], true);
    stream.discard();
  }

  /** The client's request was malformed after its head: the endpoint sees that as a reset. */
  onMalformed(): void {
    if (this.#faults.take() || this.#isFlooded) return;
    this.#isFlooded = true;
    this.#options.onRefused(400, 'too many streams were reset');
    this.#options.onFlood();
    this.#connection.destroy(errorCode.enhanceYourCalm);
  }

  onSettings(): void {
    // The connection applies them.
  }
  onGoAway(): void {
    // The client opens no more streams; the open ones go on.
  }

  onStreamClosed(): void {
    if (this.#connection.openStreams === 0) this.#idleSinceMs = performance.now();
  }

  onClose({ kind, code, why }: ConnectionEnd): void {
    clearTimeout(this.#idleTimer);
    const { onRefused, onFlood, onClosed } = this.#options;
    if (kind === 'timeout')
      onRefused(408, code === errorCode.enhanceYourCalm ? "a request's head did not arrive in time" : why);
    else if (kind === 'protocol' || kind === 'flood') onRefused(400, why);
    if (kind === 'flood') onFlood();
    onClosed();
  }
}

const methodPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const targetPattern = /^(?:\/[\x21\x22\x24-\x7e]*|\*)$/;

/**
 * Throws TargetError. The connection has checked that pseudo-headers come first, that each occurs once, and content-length
 * (src/http2/message-length.ts).
 */
function parseRequest(fields: Fields, mergeSlashes: boolean): RequestHead {
  let method = '';
  let target = '';
  let named: string | undefined;
  let from = 0;
  for (; from < fields.length; from += 2) {
    const name = fields[from] as string;
    if (name.charCodeAt(0) !== 0x3a) break;
    const value = fields[from + 1] as string;
    if (name === ':method') method = value;
    else if (name === ':path') target = value;
    else if (name === ':authority') named = value;
  }
  // HTTP/2 carries characters that an HTTP/1 request line cannot contain: forwarded to HTTP/1, they would become more than one line.
  if (!methodPattern.test(method)) throw new TargetError('the method is not a token');
  if (!targetPattern.test(target)) throw new TargetError('the path is invalid');
  const headers = fields.slice(from);
  const { fault, host } = readFraming(headers);
  if (fault !== undefined) throw new TargetError(fault);
  const { authority, path } = parseTarget(method, target, named ?? host, mergeSlashes);
  // RFC 9113, section 8.3.1: with two different names, one could be authorized and the other one routed by.
  if (host !== undefined && normalizeAuthority(host) !== authority)
    throw new TargetError(':authority and host differ');
  return { method, path, authority, scheme: 'http', headers };
}
