/** A peer's connection to the server, from its certificate to its end. */
import type tls from 'node:tls';
import { createConnection } from '../http2/connection.js';
import type {
  ConnectionEnd,
  ConnectionListener,
  Fields,
  Http2Connection,
  Http2Stream,
} from '../http2/http2.js';
import { SocketTransport } from '../http2/socket-transport.js';
import { UnreadBytes } from '../http2/unread-bytes.js';
import type { SocketAddress } from '../model/address.js';
import type { SpiffeId } from '../model/identity.js';
import { PendingTunnel, readConnect, respond, type InboundTunnel } from './inbound-tunnel.js';
import { keepAlive } from './keepalive.js';
import { connectionOptions, type HboneLimits } from './limits.js';

interface PeerConnectionOptions {
  readonly peer: SpiffeId;
  /** End of validity of the peer's certificate, in ms since the epoch. */
  readonly notAfterMs: number;
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
  readonly limits: HboneLimits;
  readonly onTunnel: (tunnel: InboundTunnel) => void;
  readonly onRefused: (code: string, reason: string) => void;
  readonly onClosed: () => void;
}

export class PeerConnection implements ConnectionListener {
  readonly #options: PeerConnectionOptions;
  readonly #http2: Http2Connection;
  readonly #stopPings: () => void;
  readonly #unread = new UnreadBytes();
  readonly #tunnels = new Map<Http2Stream, PendingTunnel>();
  #onClosed: (() => void)[] = [];

  constructor(socket: tls.TLSSocket, options: PeerConnectionOptions) {
    this.#options = options;
    const { limits } = options;
    this.#http2 = createConnection(
      new SocketTransport(socket),
      {
        ...connectionOptions(limits),
        role: 'server',
        maxConcurrentStreams: limits.streamsPerConnectionServerMax,
        // Read beyond the limit, so that such a request gets a response and not a reset.
        headerListBytesMax: 4 * limits.headerListBytesMax,
        // A peer that is silent after the handshake holds only its socket, and only for this long.
        settingsTimeoutMsMax: limits.handshakeTimeoutMsMax,
      },
      this,
    );
    this.#stopPings = keepAlive(this.#http2, limits, () => this.destroy());
  }

  /** Sends GOAWAY: no new tunnels, live tunnels continue. Resolves when the connection has closed. */
  drain(): Promise<void> {
    if (this.#http2.isClosed) return Promise.resolve();
    this.#http2.drain();
    return new Promise((resolve) => this.#onClosed.push(resolve));
  }

  destroy(): void {
    this.#http2.destroy();
  }

  onStream(stream: Http2Stream, fields: Fields, endStream: boolean): void {
    const { peer, notAfterMs, remote, local, limits, onRefused } = this.#options;
    // A peer may keep its connection open without limit, but its identity is proven only until the certificate expires.
    if (!(Date.now() < notAfterMs)) {
      onRefused('WEFT_HBONE_IDENTITY', "the peer's certificate has expired");
      respond(stream, 401);
      return this.#http2.drain();
    }
    const request = readConnect(fields, limits.headerListBytesMax);
    if (typeof request === 'string') {
      onRefused('WEFT_HBONE_REQUEST', request);
      return respond(stream, 400);
    }
    const tunnel = new PendingTunnel(stream, request, { peer, remote, local }, this.#unread, endStream);
    this.#tunnels.set(stream, tunnel);
    this.#options.onTunnel(tunnel);
  }

  onSettings(): void {
    // The engine applies them.
  }

  onGoAway(): void {
    // The peer opens no more tunnels; live ones continue.
  }

  onStreamClosed(stream: Http2Stream): void {
    const tunnel = this.#tunnels.get(stream);
    this.#tunnels.delete(stream);
    tunnel?.gone();
  }

  onClose({ kind }: ConnectionEnd): void {
    this.#stopPings();
    if (kind === 'timeout')
      this.#options.onRefused('WEFT_HBONE_SILENT', 'no HTTP/2 SETTINGS frame received in time');
    this.#options.onClosed();
    for (const call of this.#onClosed.splice(0)) call();
  }
}
