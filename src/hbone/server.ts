/**
 * The server side of HBONE: mutual TLS, then HTTP/2 CONNECT. One server per pod. Refusals follow the contract in docs/hbone.md: 400 for
 * a request that is not a valid tunnel request; the owner (`onTunnel`) decides everything else.
 */
import http2 from 'node:http2';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import type tls from 'node:tls';
import { closeOnceSent } from '../base/close-stream.js';
import { errorText } from '../base/errors.js';
import { FairLimit } from '../base/fair-limit.js';
import { sessionMegabytesMax } from '../base/session-memory.js';
import { parseIp, parseSocketAddress, type SocketAddress } from '../model/address.js';
import type { SpiffeId, TrustDomain } from '../model/identity.js';
import { checkClientPeer, contextOptions } from '../tls/contexts.js';
import type { Svid } from '../tls/svid.js';
import { sourceIdentityHeader } from './headers.js';
import { keepAlive } from './keepalive.js';
import { defaultLimits, type HboneLimits } from './limits.js';
import { keepReadable } from './stream-end.js';

/** A peer's pending CONNECT request. The owner calls exactly one of accept and refuse, once. */
export interface InboundTunnel {
  readonly authority: SocketAddress;
  readonly peer: SpiffeId;
  /** Both ends of the TCP connection: `remote` is the peer, `local` the pod's own address. */
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
  readonly headers: {
    readonly baggage?: string;
    readonly forwarded?: string;
    readonly traceparent?: string;
    /** The client identity that a waypoint states (headers.ts). */
    readonly sourceIdentity?: string;
  };
  accept(): Duplex;
  refuse(status: number): void;
  /** `call` runs once when the stream closes, also when the peer leaves before the response. */
  onGone(call: () => void): void;
}

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

/** Delay before closing a session that began during the drain: its peer may already have sent its first request. */
const drainNewMs = 1_000;

export class HboneServer {
  readonly #server: http2.Http2SecureServer;
  readonly #sessions = new Set<http2.ServerHttp2Session>();
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
    this.#server = http2.createSecureServer({
      ...contextOptions(options.svid),
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['h2'],
      handshakeTimeout: limits.handshakeTimeoutMsMax,
      maxSessionMemory: sessionMegabytesMax,
      maxHeaderListPairs: 32,
      unknownProtocolTimeout: 1,
      settings: {
        initialWindowSize: limits.streamWindowBytes,
        maxConcurrentStreams: limits.streamsPerConnectionServerMax,
        maxFrameSize: limits.frameBytesMax,
        maxHeaderListSize: limits.headerListBytesMax,
        enablePush: false,
      },
    });
    this.#server.on('session', (session) => this.#onSession(session));
    this.#server.on('stream', (stream, headers) =>
      this.#onStream(stream as http2.ServerHttp2Stream, headers),
    );
    this.#server.on('tlsClientError', (error: Error, socket: tls.TLSSocket) => {
      this.#refused('WEFT_HBONE_TLS', errorText(error), remoteOf(socket));
      socket.destroy();
    });
    this.#server.on('unknownProtocol', (socket: net.Socket) => {
      this.#refused('WEFT_HBONE_ALPN', 'the peer does not speak h2', remoteOf(socket));
      socket.destroy();
    });
    // Session errors are handled by the session's 'close'. Without a listener they would end the process.
    this.#server.on('sessionError', () => undefined);
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

  get sessions(): number {
    return this.#sessions.size;
  }

  /** No peer is connected, not even in a handshake. */
  get isIdle(): boolean {
    return this.#sessions.size === 0 && this.#raw.size === 0;
  }

  /**
   * Sends GOAWAY on all sessions: no new tunnels, live tunnels continue. Later connections get GOAWAY too. Resolves when the sessions
   * present at the call have closed.
   */
  async drain(): Promise<void> {
    this.#isDraining = true;
    await Promise.all(
      [...this.#sessions].map(
        (session) =>
          new Promise<void>((resolve) => (session.destroyed ? resolve() : session.close(() => resolve()))),
      ),
    );
  }

  /** Closes all connections at once. */
  close(): void {
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#raw) socket.destroy();
  }

  #refused(code: string, reason: string, remote: SocketAddress | undefined, peer?: SpiffeId): void {
    this.#options.onRefused({ code, reason, remote, peer });
  }

  #onSession(session: http2.ServerHttp2Session): void {
    const socket = session.socket as tls.TLSSocket;
    const remote = remoteOf(socket);
    this.#early.get(nameOf(socket))?.();
    const certificate = socket.getPeerCertificate();
    const check = checkClientPeer(certificate.subjectaltname, this.#options.trustDomain);
    session.on('error', () => undefined);
    if (!check.ok) {
      this.#refused('WEFT_HBONE_IDENTITY', check.reason, remote);
      session.destroy();
      return;
    }
    const { admit } = this.#options;
    const release = admit && remote ? admit(check.id, remote) : () => undefined;
    if (!release) {
      this.#refused(
        'WEFT_CONNECTIONS_FULL',
        'this identity has used its share of connections',
        remote,
        check.id,
      );
      session.destroy();
      return;
    }
    session.once('close', release);
    peers.set(session, { id: check.id, notAfterMs: Date.parse(certificate.valid_to) });
    this.#sessions.add(session);
    // A peer that is silent after the handshake holds only its socket, and only until this timer fires.
    const silent = setTimeout(() => {
      this.#refused('WEFT_HBONE_SILENT', 'no HTTP/2 SETTINGS frame received in time', remote, check.id);
      session.destroy();
    }, this.#limits.handshakeTimeoutMsMax);
    session.once('remoteSettings', () => clearTimeout(silent));
    session.once('close', () => {
      clearTimeout(silent);
      this.#sessions.delete(session);
    });
    if (this.#isDraining) setTimeout(() => session.close(), drainNewMs).unref();
    session.setLocalWindowSize(this.#limits.connectionWindowBytes);
    keepAlive(session, this.#limits, () => session.destroy());
  }

  #onStream(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
    const session = stream.session;
    stream.on('error', () => undefined);
    keepReadable(stream);
    const known = session && peers.get(session as http2.ServerHttp2Session);
    const peer = known?.id;
    const socket = session?.socket as tls.TLSSocket | undefined;
    const remote = socket && remoteOf(socket);
    if (!known || !peer || !socket || !remote || socket.localAddress === undefined) {
      stream.close(http2.constants.NGHTTP2_CANCEL);
      return;
    }
    // A peer may keep its connection open without limit, but its identity is proven only until the certificate expires.
    if (!(Date.now() < known.notAfterMs)) {
      this.#refused('WEFT_HBONE_IDENTITY', "the peer's certificate has expired", remote, peer);
      respond(stream, 401);
      session.close();
      return;
    }
    const bad = (reason: string): void => {
      this.#refused('WEFT_HBONE_REQUEST', reason, remote, peer);
      respond(stream, 400);
    };
    if (headers[':method'] !== 'CONNECT') return bad('the method is not CONNECT');
    // nghttp2 announces this limit to the peer and does not enforce it.
    let headerBytes = 0;
    for (const [name, value] of Object.entries(headers))
      headerBytes += name.length + String(value).length + 32;
    if (headerBytes > this.#limits.headerListBytesMax)
      return bad(`the header list exceeds ${this.#limits.headerListBytesMax} bytes`);
    // HBONE uses plain CONNECT. The extended CONNECT of RFC 8441 has a :protocol and a :path.
    if (headers[':protocol'] !== undefined || headers[':path'] !== undefined)
      return bad('extended CONNECT (:path or :protocol) is not supported');
    let authority: SocketAddress;
    try {
      authority = parseSocketAddress(String(headers[':authority'] ?? ''));
    } catch (error) {
      return bad(errorText(error));
    }
    const text = (name: string): string | undefined => {
      const value = headers[name];
      return typeof value === 'string' ? value : value?.[0];
    };
    this.#options.onTunnel({
      authority,
      peer,
      remote,
      local: { ip: parseIp(socket.localAddress), port: socket.localPort ?? 0 },
      headers: {
        ...optional('baggage', text('baggage')),
        ...optional('forwarded', text('forwarded')),
        ...optional('traceparent', text('traceparent')),
        ...optional('sourceIdentity', text(sourceIdentityHeader)),
      },
      accept: () => {
        if (!stream.destroyed && !stream.headersSent) stream.respond({ ':status': 200 });
        return stream;
      },
      refuse: (status) => respond(stream, status),
      onGone: (call) => void stream.once('close', call),
    });
  }
}

/** Identity and end of validity (ms since the epoch) of the certificate that each session's peer presented. */
const peers = new WeakMap<http2.ServerHttp2Session, { readonly id: SpiffeId; readonly notAfterMs: number }>();

function optional<K extends string>(key: K, value: string | undefined): { [P in K]?: string } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: string };
}

function respond(stream: http2.ServerHttp2Stream, status: number): void {
  if (stream.destroyed || stream.headersSent) return;
  stream.respond({ ':status': status }, { endStream: true });
  // Data that the peer still sends is not needed. Without this the stream would wait for the peer's END_STREAM.
  closeOnceSent(stream);
}

const nameOf = (socket: net.Socket): string => `${socket.remoteAddress ?? ''} ${socket.remotePort ?? ''}`;

function remoteOf(socket: {
  remoteAddress?: string | undefined;
  remotePort?: number | undefined;
}): SocketAddress | undefined {
  if (socket.remoteAddress === undefined || socket.remotePort === undefined) return undefined;
  return { ip: parseIp(socket.remoteAddress), port: socket.remotePort };
}
