/**
 * The client side of HBONE: tunnels as streams of pooled connections, one pool entry per (source, source identity, expected
 * identities, destination).
 */
import http2 from 'node:http2';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import type tls from 'node:tls';
import { connectErrorSource } from '../base/connect-error.js';
import { errorText, WeftError } from '../base/errors.js';
import { sessionMegabytesMax } from '../base/session-memory.js';
import { formatSocketAddress, type SocketAddress } from '../model/address.js';
import type { SpiffeId } from '../model/identity.js';
import { contextOf } from '../tls/contexts.js';
import type { Svid } from '../tls/svid.js';
import { TunnelRefused } from './endpoint-failure.js';
import { secure } from './handshake.js';
import { keepAlive } from './keepalive.js';
import { defaultLimits, type HboneLimits } from './limits.js';
import { keepReadable } from './stream-end.js';

export interface TunnelRequest {
  readonly svid: Svid;
  readonly expected: readonly SpiffeId[];
  /** Where the TLS connection goes: the next hop's address, port 15008. */
  readonly destination: SocketAddress;
  /** What the tunnel leads to: `ip:port`. */
  readonly authority: string;
  /** Tells sources apart that may not share a connection: the pod, and which of those that bear its name (`forget`). */
  readonly source: string;
  readonly headers: Readonly<Record<string, string>>;
  /** A raw TCP connection to `destination`, from within the source pod's namespace. */
  readonly connect: () => Promise<net.Socket>;
}

interface Tunnel {
  readonly stream: Duplex;
  readonly peer: SpiffeId;
  readonly reused: boolean;
}

interface Connection {
  readonly serial: string;
  readonly session: http2.ClientHttp2Session;
  readonly peer: SpiffeId;
  streams: number;
  /** Takes no new streams: GOAWAY came, or its certificate was replaced. */
  draining: boolean;
  idle: NodeJS.Timeout | undefined;
}

interface Entry {
  readonly source: string;
  readonly connections: Connection[];
  opening: Promise<Connection> | undefined;
}

/** CONNECT requests that are repeated at most, where the connection ended before the peer had processed one. */
const unprocessedMax = 2;

/** The peer has not processed the CONNECT request. Nothing of the client was sent yet, so that it can be repeated. */
class UnprocessedError extends WeftError {}

export class TunnelPool {
  readonly #entries = new Map<string, Entry>();
  /** Of sources that are forgotten, until their last stream has ended. */
  readonly #orphans = new Set<Entry>();
  readonly #contexts = new Map<string, tls.SecureContext>();
  readonly #limits: HboneLimits;

  constructor(limits: Partial<HboneLimits> = {}) {
    this.#limits = { ...defaultLimits, ...limits };
  }

  /**
   * Errors, all WeftError with source upstream (WEFT_TUNNEL_CONNECT: internal, where this machine had no descriptor or port left, or where
   * `connect` says so): WEFT_TUNNEL_CONNECT, WEFT_TUNNEL_TLS, WEFT_TUNNEL_IDENTITY,
   * WEFT_TUNNEL_REFUSED (TunnelRefused, with the status), WEFT_TUNNEL_RESET, WEFT_TUNNEL_TIMEOUT.
   */
  async open(request: TunnelRequest): Promise<Tunnel> {
    const key = [
      request.source,
      request.svid.id,
      ...request.expected,
      formatSocketAddress(request.destination),
    ].join(' ');
    for (let unprocessed = 0; ;) {
      // Looked up in each turn: an entry that another turn emptied is forgotten, and nobody would find what is added to it.
      let entry = this.#entries.get(key);
      if (!entry)
        this.#entries.set(key, (entry = { source: request.source, connections: [], opening: undefined }));
      const free = entry.connections.find(
        (c) =>
          !c.draining &&
          !c.session.closed &&
          !c.session.destroyed &&
          c.serial === request.svid.serial &&
          c.streams < this.#limits.streamsPerConnectionClientMax,
      );
      try {
        if (free) return await this.#stream(free, request, true);
        if (!entry.opening) {
          const { opening } = this.#open(key, entry, request);
          return await this.#stream(await opening, request, false);
        }
      } catch (error) {
        if (!(error instanceof UnprocessedError) || ++unprocessed > unprocessedMax) throw error;
        continue;
      }
      // Others open one already: share it, or open the next if it filled up meanwhile.
      await entry.opening;
    }
  }

  #open(key: string, entry: Entry, request: TunnelRequest): { readonly opening: Promise<Connection> } {
    const opening = this.#connect(key, entry, request);
    entry.opening = opening;
    const clear = (): void => {
      if (entry.opening === opening) entry.opening = undefined;
      this.#forgetEmpty(key, entry);
    };
    opening.then(clear, clear);
    return { opening };
  }

  /** An entry is what it holds: destinations that cannot be reached, and there are as many as clients name, leave none. */
  #forgetEmpty(key: string, entry: Entry): void {
    if (entry.connections.length === 0 && !entry.opening && this.#entries.get(key) === entry)
      this.#entries.delete(key);
  }

  /** Connections of this identity under another certificate take no new streams and end at a stated age. */
  update(svid: Svid): void {
    for (const [key, entry] of this.#entries) {
      if (key.split(' ')[1] !== svid.id) continue;
      for (const connection of entry.connections)
        if (connection.serial !== svid.serial) this.#retire(connection);
    }
  }

  /**
   * A source is no more, or another one has its name: no new streams on its connections, those that are idle end now, live streams go on
   * to their own end. One that is being opened is retired when it is there.
   */
  forget(source: string): void {
    for (const [key, entry] of this.#entries) {
      if (entry.source !== source) continue;
      // Who asks by this name from now on begins anew.
      this.#entries.delete(key);
      for (const connection of entry.connections) this.#retire(connection);
      this.#orphans.add(entry);
      const settle = (): void => {
        for (const connection of entry.connections) this.#retire(connection);
        if (entry.connections.length === 0) this.#orphans.delete(entry);
      };
      if (entry.opening) entry.opening.then(settle, settle);
      else settle();
    }
  }

  /** No new streams on any; live ones go on. */
  drain(): void {
    for (const entry of this.#all()) for (const connection of entry.connections) this.#retire(connection);
  }

  close(): void {
    for (const entry of this.#all()) for (const connection of entry.connections) connection.session.destroy();
  }

  /** Connections, also those that end. */
  get size(): number {
    let count = 0;
    for (const entry of this.#all()) count += entry.connections.length;
    return count;
  }

  /** Destinations for which something is held. */
  get entries(): number {
    return this.#entries.size;
  }

  #all(): Entry[] {
    return [...this.#entries.values(), ...this.#orphans];
  }

  #context(svid: Svid): tls.SecureContext {
    let context = this.#contexts.get(svid.serial);
    if (!context) {
      context = contextOf(svid);
      this.#contexts.set(svid.serial, context);
      // Contexts are remade when needed: forgetting the oldest bounds the memory of rotations.
      const [oldest] = this.#contexts.keys();
      if (this.#contexts.size > 1024 && oldest !== undefined) this.#contexts.delete(oldest);
    }
    return context;
  }

  async #connect(key: string, entry: Entry, request: TunnelRequest): Promise<Connection> {
    const where = formatSocketAddress(request.destination);
    let raw: net.Socket;
    try {
      raw = await request.connect();
    } catch (error) {
      throw new WeftError('WEFT_TUNNEL_CONNECT', `no connection to ${where}: ${errorText(error)}`, {
        source: error instanceof WeftError ? error.source : connectErrorSource(error),
        retryable: true,
        cause: error,
      });
    }
    const limits = this.#limits;
    const { socket, peer } = await secure(raw, {
      context: this.#context(request.svid),
      expected: request.expected,
      destination: where,
      timeoutMs: limits.handshakeTimeoutMsMax,
    });
    const session = http2.connect('https://hbone', {
      createConnection: () => socket,
      maxSessionMemory: sessionMegabytesMax,
      settings: {
        initialWindowSize: limits.streamWindowBytes,
        maxFrameSize: limits.frameBytesMax,
        maxHeaderListSize: limits.headerListBytesMax,
        enablePush: false,
      },
    });
    const connection: Connection = {
      serial: request.svid.serial,
      session,
      peer,
      streams: 0,
      draining: false,
      idle: undefined,
    };
    session.on('error', () => undefined);
    session.once('connect', () => session.setLocalWindowSize(limits.connectionWindowBytes));
    session.once('goaway', () => this.#retire(connection));
    session.once('close', () => {
      clearTimeout(connection.idle);
      connection.draining = true;
      const at = entry.connections.indexOf(connection);
      if (at >= 0) entry.connections.splice(at, 1);
      this.#forgetEmpty(key, entry);
      if (entry.connections.length === 0 && !entry.opening) this.#orphans.delete(entry);
    });
    keepAlive(session, limits, () => session.destroy());
    entry.connections.push(connection);
    return connection;
  }

  #stream(connection: Connection, request: TunnelRequest, reused: boolean): Promise<Tunnel> {
    clearTimeout(connection.idle);
    connection.streams++;
    const stream = connection.session.request(
      { ':method': 'CONNECT', ':authority': request.authority, ...request.headers },
      { endStream: false },
    );
    keepReadable(stream);
    stream.once('close', () => {
      if (--connection.streams > 0) return;
      if (connection.draining) connection.session.close();
      else {
        connection.idle = setTimeout(() => connection.session.close(), this.#limits.idleConnectionMsMax);
        connection.idle.unref();
      }
    });
    return new Promise((resolve, reject) => {
      const fail = (code: string, message: string, cause?: unknown, Kind = WeftError): void => {
        clearTimeout(timer);
        if (!stream.destroyed) stream.close(http2.constants.NGHTTP2_CANCEL);
        reject(
          new Kind(code, message, {
            source: 'upstream',
            retryable: code !== 'WEFT_TUNNEL_REFUSED',
            cause,
          }),
        );
      };
      const timer = setTimeout(
        () => fail('WEFT_TUNNEL_TIMEOUT', `no answer to CONNECT ${request.authority}`),
        this.#limits.responseTimeoutMsMax,
      );
      let failure: Error | undefined;
      stream.on('error', (error) => (failure = error));
      const onClose = (): void =>
        fail(
          'WEFT_TUNNEL_RESET',
          `the tunnel to ${request.authority} was reset: ${failure ? errorText(failure) : 'closed'}`,
          failure,
          isUnprocessed(stream, connection, reused) ? UnprocessedError : WeftError,
        );
      stream.once('close', onClose);
      stream.once('response', (headers) => {
        stream.removeListener('close', onClose);
        const status = headers[':status'];
        clearTimeout(timer);
        if (status !== 200) {
          if (!stream.destroyed) stream.close(http2.constants.NGHTTP2_CANCEL);
          return reject(new TunnelRefused(Number(status), request.authority));
        }
        resolve({ stream, peer: connection.peer, reused });
      });
    });
  }

  #retire(connection: Connection): void {
    if (connection.draining) return;
    connection.draining = true;
    if (connection.streams === 0) return void connection.session.close();
    const timer = setTimeout(() => connection.session.destroy(), this.#limits.oldCertificateMsMax);
    timer.unref();
    connection.session.once('close', () => clearTimeout(timer));
  }
}

/**
 * Whether a stream that was closed before any response was not processed: the peer said so (RFC 9113, 6.8 and 8.7), or the whole
 * connection has ended. What is sent again then is a CONNECT, ahead of the client's first byte.
 */
function isUnprocessed(
  stream: http2.ClientHttp2Stream,
  { draining, session }: Connection,
  reused: boolean,
): boolean {
  // A connection that ends with its first stream is one that the peer does not want: that is its answer.
  if (!reused) return false;
  const { NGHTTP2_REFUSED_STREAM } = http2.constants;
  return stream.rstCode === NGHTTP2_REFUSED_STREAM || draining || session.closed || session.destroyed;
}
