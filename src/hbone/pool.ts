/**
 * The client side of HBONE: tunnels are streams of pooled connections. There is one pool entry per (source, source identity, expected
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
  /** The next hop of the TLS connection: address and port (15008). */
  readonly destination: SocketAddress;
  /** The tunnel's destination, `ip:port`. */
  readonly authority: string;
  /** Key of the source. Different sources never share a connection: it names the pod and the instance among pods of that name (`forget`). */
  readonly source: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Opens a TCP connection to `destination` from within the source pod's network namespace. */
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
  /** Takes no new streams: GOAWAY was received, or the certificate was replaced. */
  draining: boolean;
  idle: NodeJS.Timeout | undefined;
}

interface Entry {
  readonly source: string;
  readonly connections: Connection[];
  opening: Promise<Connection> | undefined;
}

/** Maximum number of repeated CONNECT requests after a connection ended before the peer processed the request. */
const unprocessedMax = 2;

/** The peer did not process the CONNECT request. No client data was sent yet, so the request can be repeated. */
class UnprocessedError extends WeftError {}

export class TunnelPool {
  readonly #entries = new Map<string, Entry>();
  /** Entries of forgotten sources, kept until their last connection has closed. */
  readonly #orphans = new Set<Entry>();
  readonly #contexts = new Map<string, tls.SecureContext>();
  readonly #limits: HboneLimits;

  constructor(limits: Partial<HboneLimits> = {}) {
    this.#limits = { ...defaultLimits, ...limits };
  }

  /**
   * Opens a tunnel on a pooled or a new connection.
   * Errors, all WeftError: WEFT_TUNNEL_CONNECT, WEFT_TUNNEL_TLS, WEFT_TUNNEL_IDENTITY, WEFT_TUNNEL_REFUSED (TunnelRefused, with the
   * status), WEFT_TUNNEL_RESET, WEFT_TUNNEL_TIMEOUT. Their source is upstream, except for WEFT_TUNNEL_CONNECT: its source is internal if
   * this machine had no descriptor or port left, and if `connect` rejects with a WeftError its source is taken over.
   */
  async open(request: TunnelRequest): Promise<Tunnel> {
    const key = [
      request.source,
      request.svid.id,
      ...request.expected,
      formatSocketAddress(request.destination),
    ].join(' ');
    for (let unprocessed = 0; ;) {
      // The entry is looked up in each iteration: a concurrent call may have removed it when it became empty, and connections added to a
      // removed entry would never be found.
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
      // Another call is opening a connection: share it, or open the next one if it is full by then.
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

  /** Removes an empty entry. Clients can name any number of unreachable destinations, so these must leave nothing behind. */
  #forgetEmpty(key: string, entry: Entry): void {
    if (entry.connections.length === 0 && !entry.opening && this.#entries.get(key) === entry)
      this.#entries.delete(key);
  }

  /** Connections of this identity with another certificate take no new streams. They are destroyed after `oldCertificateMsMax`. */
  update(svid: Svid): void {
    for (const [key, entry] of this.#entries) {
      if (key.split(' ')[1] !== svid.id) continue;
      for (const connection of entry.connections)
        if (connection.serial !== svid.serial) this.#retire(connection);
    }
  }

  /**
   * Forgets a source that is gone or whose name another source has taken over. Its connections take no new streams, idle connections
   * close now, live streams continue to their end. A connection that is being opened is retired once it is established.
   */
  forget(source: string): void {
    for (const [key, entry] of this.#entries) {
      if (entry.source !== source) continue;
      // Later requests under this source key get a new entry.
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

  /** Retires all connections: no new streams; live streams continue. */
  drain(): void {
    for (const entry of this.#all()) for (const connection of entry.connections) this.#retire(connection);
  }

  close(): void {
    for (const entry of this.#all()) for (const connection of entry.connections) connection.session.destroy();
  }

  /** Number of connections, including draining ones. */
  get size(): number {
    let count = 0;
    for (const entry of this.#all()) count += entry.connections.length;
    return count;
  }

  /** Number of pool entries. */
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
      // Contexts are created again when needed. Dropping the oldest bounds the memory used by certificate rotations.
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
        () =>
          fail(
            'WEFT_TUNNEL_TIMEOUT',
            `no response to CONNECT ${request.authority} in ${this.#limits.responseTimeoutMsMax} ms`,
          ),
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
 * Whether the peer did not process a stream that closed before any response: the peer stated so (RFC 9113, sections 6.8 and 8.7), or the
 * whole connection has ended. Only the CONNECT is repeated then; the client's first byte was not sent yet.
 */
function isUnprocessed(
  stream: http2.ClientHttp2Stream,
  { draining, session }: Connection,
  reused: boolean,
): boolean {
  // If the connection ends with its first stream, the peer rejects the connection: repeating would not help.
  if (!reused) return false;
  const { NGHTTP2_REFUSED_STREAM } = http2.constants;
  return stream.rstCode === NGHTTP2_REFUSED_STREAM || draining || session.closed || session.destroyed;
}
