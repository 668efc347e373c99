/** One connection of the pool: its tunnels, and when it ends. */
import type tls from 'node:tls';
import { WeftError } from '../base/errors.js';
import { errorCode } from '../http2/codes.js';
import { createConnection } from '../http2/connection.js';
import type {
  ConnectionListener,
  Fields,
  Http2Connection,
  Http2Stream,
  StreamListener,
  StreamReset,
} from '../http2/http2.js';
import { SocketTransport } from '../http2/socket-transport.js';
import { StreamDuplex } from '../http2/stream-duplex.js';
import { UnreadBytes } from '../http2/unread-bytes.js';
import type { SpiffeId } from '../model/identity.js';
import { TunnelRefused } from './endpoint-failure.js';
import { keepAlive } from './keepalive.js';
import { connectionOptions, type HboneLimits } from './limits.js';

export interface Tunnel {
  /** `detach` gives the stream itself, for a transport of an inner connection (StreamTransport). */
  readonly stream: StreamDuplex;
  readonly peer: SpiffeId;
  readonly reused: boolean;
}

/** The peer did not process the CONNECT request. No client data was sent yet, so the request can be repeated. */
export class UnprocessedError extends WeftError {}

interface PoolConnectionOptions {
  /** Serial number of the own certificate. */
  readonly serial: string;
  readonly peer: SpiffeId;
  readonly limits: HboneLimits;
  /** How long the connection may be without a tunnel from now on. */
  readonly idleMsMax: (connection: PoolConnection) => number;
  readonly onClosed: (connection: PoolConnection) => void;
}

export class PoolConnection implements ConnectionListener {
  readonly #options: PoolConnectionOptions;
  readonly #http2: Http2Connection;
  readonly #stopPings: () => void;
  readonly #unread = new UnreadBytes();
  #isRetired = false;
  /** Ends an idle or a retired connection. */
  #timer: NodeJS.Timeout | undefined;
  /** The peer's SETTINGS have arrived, or the connection has ended before. */
  readonly accepted: Promise<boolean>;
  #onSettled: (isAccepted: boolean) => void = () => undefined;

  constructor(socket: tls.TLSSocket, options: PoolConnectionOptions) {
    this.#options = options;
    this.accepted = new Promise((resolve) => (this.#onSettled = resolve));
    const { limits } = options;
    this.#http2 = createConnection(
      new SocketTransport(socket),
      { ...connectionOptions(limits), role: 'client', maxConcurrentStreams: 0, settingsTimeoutMsMax: 0 },
      this,
    );
    this.#stopPings = keepAlive(this.#http2, limits, () => this.destroy());
  }

  get serial(): string {
    return this.#options.serial;
  }

  get tunnels(): number {
    return this.#http2.openStreams;
  }

  /** Whether another tunnel may be opened. */
  get isFree(): boolean {
    return (
      !this.#isRetired &&
      this.#http2.canOpen &&
      this.#http2.openStreams < this.#options.limits.streamsPerConnectionClientMax
    );
  }

  /** The connection takes new tunnels, now or after some have ended. */
  get isInUse(): boolean {
    return !this.#isRetired && !this.#http2.isDraining;
  }

  /** Takes no new tunnels and closes after the last one, or after `oldCertificateMsMax`. */
  retire(): void {
    if (this.#isRetired) return;
    this.#isRetired = true;
    if (this.#http2.openStreams === 0) return this.#http2.drain();
    this.#endAfter(this.#options.limits.oldCertificateMsMax, () => this.destroy());
  }

  destroy(): void {
    this.#http2.destroy();
  }

  /** Starts the idle time of a connection that was opened for tunnels that others took. */
  startIdle(): void {
    if (this.#http2.openStreams > 0 || this.#isRetired || this.#http2.isClosed) return;
    this.#endAfter(this.#options.idleMsMax(this), () => this.#http2.drain());
  }

  /**
   * Opens a tunnel.
   * Errors, with source upstream: WEFT_TUNNEL_REFUSED (TunnelRefused), WEFT_TUNNEL_RESET (UnprocessedError if it may be repeated),
   * WEFT_TUNNEL_TIMEOUT.
   * @param reused the connection has carried a request before
   */
  open(authority: string, headers: Readonly<Record<string, string>>, reused: boolean): Promise<Tunnel> {
    const fields = [':method', 'CONNECT', ':authority', authority];
    for (const name in headers) fields.push(name, headers[name] ?? '');
    const stream = this.#http2.request(fields, false);
    if (!stream) return Promise.reject(unprocessed(authority, 'the connection accepts no more streams'));
    if (!this.#isRetired) clearTimeout(this.#timer);
    return new Promise((resolve, reject) => {
      stream.listener = new PendingConnect(stream, authority, this.#options.limits.responseTimeoutMsMax, {
        onAccepted: (endStream) =>
          resolve({
            stream: new StreamDuplex(stream, this.#unread, endStream),
            peer: this.#options.peer,
            reused,
          }),
        // If the connection ends with its first stream, the peer rejects the connection: repeating would not help.
        mayRepeat: (reset) => reused && (reset.isUnprocessed || reset.by === 'connection' || this.#isRetired),
        onFailed: reject,
      });
    });
  }

  onStream(stream: Http2Stream): void {
    // A server opens no streams: push is disabled.
    stream.reset(errorCode.refusedStream);
  }

  onSettings(): void {
    this.#onSettled(true);
  }

  onGoAway(): void {
    this.retire();
  }

  onStreamClosed(): void {
    if (this.#http2.openStreams > 0) return;
    if (this.#isRetired) this.#http2.drain();
    else this.startIdle();
  }

  onClose(): void {
    this.#stopPings();
    clearTimeout(this.#timer);
    this.#isRetired = true;
    this.#onSettled(false);
    this.#options.onClosed(this);
  }

  #endAfter(ms: number, end: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(end, ms);
    this.#timer.unref();
  }
}

interface PendingConnectEnd {
  onAccepted(endStream: boolean): void;
  mayRepeat(reset: StreamReset): boolean;
  onFailed(error: WeftError): void;
}

/** A CONNECT request that waits for its response. */
class PendingConnect implements StreamListener {
  readonly #timer: NodeJS.Timeout;

  constructor(
    private readonly stream: Http2Stream,
    private readonly authority: string,
    timeoutMs: number,
    private readonly end: PendingConnectEnd,
  ) {
    this.#timer = setTimeout(() => {
      stream.reset(errorCode.cancel);
      const text = `no response to CONNECT ${authority} in ${timeoutMs} ms`;
      end.onFailed(new WeftError('WEFT_TUNNEL_TIMEOUT', text, { source: 'upstream', retryable: true }));
    }, timeoutMs);
  }

  onHead(fields: Fields, endStream: boolean): void {
    clearTimeout(this.#timer);
    const at = fields.indexOf(':status');
    const status = Number(fields[at + 1]);
    if (status === 200) return this.end.onAccepted(endStream);
    this.stream.reset(errorCode.cancel);
    this.end.onFailed(new TunnelRefused(status, this.authority));
  }

  onReset(reset: StreamReset): void {
    clearTimeout(this.#timer);
    if (this.end.mayRepeat(reset)) return this.end.onFailed(unprocessed(this.authority, reset.why));
    const text = `the tunnel to ${this.authority} was reset: ${reset.why}`;
    this.end.onFailed(new WeftError('WEFT_TUNNEL_RESET', text, { source: 'upstream', retryable: true }));
  }

  onInterim(): void {
    // 1xx: the response follows.
  }

  // Only after the head, when the stream has another listener, and nothing is written before.
  onData(): void {}
  onEnd(): void {}
  onDrain(): void {}
}

const unprocessed = (authority: string, why: string): UnprocessedError =>
  new UnprocessedError('WEFT_TUNNEL_RESET', `the tunnel to ${authority} was reset: ${why}`, {
    source: 'upstream',
    retryable: true,
  });
