/**
 * The server side of HBONE: mutual TLS, then HTTP/2 CONNECT. One server per pod. Refusals follow the contract in docs/hbone.md: 400 for
 * a request that is not a valid tunnel request; the owner (`onTunnel`) decides everything else.
 */
import type net from 'node:net';
import tls from 'node:tls';
import { errorText } from '../base/errors.js';
import { FairLimit } from '../base/fair-limit.js';
import { parseIp, type SocketAddress } from '../model/address.js';
import type { SpiffeId, TrustDomain } from '../model/identity.js';
import { checkClientPeer, contextOptions } from '../tls/contexts.js';
import type { Svid } from '../tls/svid.js';
import type { InboundTunnel } from './inbound-tunnel.js';
import { defaultLimits, type HboneLimits } from './limits.js';
import { PeerConnection } from './peer-connection.js';

export type { InboundTunnel };

export interface Refused {
  readonly code: string;
  readonly reason: string;
  readonly remote: SocketAddress | undefined;
  readonly peer: SpiffeId | undefined;
}

export interface HboneServerOptions {
  readonly svid: Svid;
  readonly trustDomain: TrustDomain;
  readonly limits?: Partial<HboneLimits>;
  readonly onTunnel: (tunnel: InboundTunnel) => void;
  readonly onRefused: (refused: Refused) => void;
  /**
   * Admits a connection whose peer has presented its certificate. Returns the function to call when the connection ends, or undefined if
   * the peer's share of connections is used up.
   */
  readonly admit?: (peer: SpiffeId, remote: SocketAddress) => (() => void) | undefined;
  /** A connection was closed unread because too many handshakes are pending. */
  readonly onHandshakesFull?: () => void;
}

/** Delay before closing a connection that began during the drain: its peer may already have sent its first request. */
const drainNewMs = 1_000;

export class HboneServer {
  readonly #server: tls.Server;
  readonly #connections = new Set<PeerConnection>();
  readonly #raw = new Set<net.Socket>();
  /** Connections in handshake, by the peer's address and port. The value ends the accounting of the handshake. */
  readonly #early = new Map<string, () => void>();
  readonly #handshakes: FairLimit;
  readonly #limits: HboneLimits;
  readonly #options: HboneServerOptions;
  #isDraining = false;

  constructor(options: HboneServerOptions) {
    this.#options = options;
    const limits = (this.#limits = { ...defaultLimits, ...options.limits });
    this.#handshakes = new FairLimit(limits.handshakesMax);
    this.#server = tls.createServer({
      ...contextOptions(options.svid),
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['h2'],
      handshakeTimeout: limits.handshakeTimeoutMsMax,
    });
    this.#server.on('secureConnection', (socket) => this.#onSecure(socket));
    this.#server.on('tlsClientError', (error: Error, socket: tls.TLSSocket) => {
      this.#refused('WEFT_HBONE_TLS', errorText(error), remoteOf(socket));
      socket.destroy();
    });
    this.#server.on('error', () => undefined);
  }

  /** Takes over an accepted TCP connection. */
  handle(socket: net.Socket): void {
    // A destroyed socket emits no further 'close', which would release the handshake's place.
    if (socket.destroyed) return;
    const from = socket.remoteAddress ?? '';
    const name = nameOf(socket);
    if (this.#handshakes.take(from) !== undefined) {
      // Not logged per connection: a flood would fill the log.
      this.#options.onHandshakesFull?.();
      return void socket.destroy();
    }
    let isOver = false;
    const over = (): void => {
      if (isOver) return;
      isOver = true;
      // The socket of a peer that left at once has no address any more, so several such sockets share one name.
      if (this.#early.get(name) === over) this.#early.delete(name);
      this.#handshakes.release(from);
    };
    this.#early.set(name, over);
    this.#raw.add(socket);
    socket.once('close', () => {
      this.#raw.delete(socket);
      over();
    });
    socket.on('error', () => socket.destroy());
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 180_000);
    this.#server.emit('connection', socket);
  }

  /** Presents the new certificate on new connections. Live connections are not affected. */
  update(svid: Svid): void {
    this.#server.setSecureContext(contextOptions(svid));
  }

  /** Number of connections whose peers have presented a certificate. */
  get sessions(): number {
    return this.#connections.size;
  }

  /** No peer is connected, not even in a handshake. */
  get isIdle(): boolean {
    return this.#connections.size === 0 && this.#raw.size === 0;
  }

  /**
   * Sends GOAWAY on all connections: no new tunnels, live tunnels continue. Later connections get GOAWAY too. Resolves when the
   * connections present at the call have closed.
   */
  async drain(): Promise<void> {
    this.#isDraining = true;
    await Promise.all([...this.#connections].map((connection) => connection.drain()));
  }

  /** Closes all connections at once. */
  close(): void {
    for (const connection of this.#connections) connection.destroy();
    for (const socket of this.#raw) socket.destroy();
  }

  #refused(code: string, reason: string, remote: SocketAddress | undefined, peer?: SpiffeId): void {
    this.#options.onRefused({ code, reason, remote, peer });
  }

  /** The TLS handshake is complete and the peer's certificate chain verified. */
  #onSecure(socket: tls.TLSSocket): void {
    const remote = remoteOf(socket);
    this.#early.get(nameOf(socket))?.();
    socket.on('error', () => undefined);
    const refuse = (code: string, reason: string, peer?: SpiffeId): void => {
      this.#refused(code, reason, remote, peer);
      socket.destroy();
    };
    if (socket.alpnProtocol !== 'h2') return refuse('WEFT_HBONE_ALPN', 'the peer does not speak h2');
    const certificate = socket.getPeerCertificate();
    const check = checkClientPeer(certificate.subjectaltname, this.#options.trustDomain);
    if (!check.ok) return refuse('WEFT_HBONE_IDENTITY', check.reason);
    // The peer has left.
    if (!remote || socket.localAddress === undefined) return void socket.destroy();
    const { admit } = this.#options;
    const release = admit ? admit(check.id, remote) : () => undefined;
    if (!release)
      return refuse('WEFT_CONNECTIONS_FULL', 'this identity has used its share of connections', check.id);
    const connection = new PeerConnection(socket, {
      peer: check.id,
      notAfterMs: Date.parse(certificate.valid_to),
      remote,
      local: { ip: parseIp(socket.localAddress), port: socket.localPort ?? 0 },
      limits: this.#limits,
      onTunnel: this.#options.onTunnel,
      onRefused: (code, reason) => this.#refused(code, reason, remote, check.id),
      onClosed: () => {
        this.#connections.delete(connection);
        release();
      },
    });
    this.#connections.add(connection);
    if (this.#isDraining) setTimeout(() => void connection.drain(), drainNewMs).unref();
  }
}

const nameOf = (socket: net.Socket): string => `${socket.remoteAddress ?? ''} ${socket.remotePort ?? ''}`;

function remoteOf(socket: {
  remoteAddress?: string | undefined;
  remotePort?: number | undefined;
}): SocketAddress | undefined {
  if (socket.remoteAddress === undefined || socket.remotePort === undefined) return undefined;
  return { ip: parseIp(socket.remoteAddress), port: socket.remotePort };
}
