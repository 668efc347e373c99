/**
 * The client side of HBONE: tunnels are streams of pooled connections. There is one pool entry per (source, source identity, expected
 * identities, destination).
 */
import type net from 'node:net';
import type tls from 'node:tls';
import { connectErrorSource } from '../base/connect-error.js';
import { errorText, WeftError } from '../base/errors.js';
import { formatSocketAddress, type SocketAddress } from '../model/address.js';
import type { SpiffeId } from '../model/identity.js';
import { contextOf } from '../tls/contexts.js';
import type { Svid } from '../tls/svid.js';
import { secure } from './handshake.js';
import { defaultLimits, type HboneLimits } from './limits.js';
import { PoolConnection, UnprocessedError, type Tunnel } from './pool-connection.js';

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
  /**
   * The destination serves each connection by one of several workers: many tunnels spread over several connections, so that one busy
   * client is not bound to one core.
   */
  readonly spread?: boolean;
}

interface Entry {
  readonly source: string;
  readonly connections: PoolConnection[];
  opening: Promise<PoolConnection> | undefined;
  /** A further connection to spread over is being opened. Never rejects. */
  spreading: Promise<void> | undefined;
  spreadingSinceMs: number;
  /** No further connection to spread over before this time (`performance.now()`): the last one failed. */
  noSpreadUntilMs: number;
  isForgotten: boolean;
}

/** Maximum number of repeated CONNECT requests after a connection ended before the peer processed the request. */
const unprocessedMax = 2;

export class TunnelPool {
  readonly #entries = new Map<string, Entry>();
  /** Entries of forgotten sources, kept until their last connection has closed. */
  readonly #orphans = new Set<Entry>();
  readonly #contexts = new Map<string, tls.SecureContext>();
  readonly #limits: HboneLimits;
  #isClosed = false;

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
      const entry = this.#entry(key, request.source);
      const free = this.#choose(entry, request);
      if (free && request.spread === true && this.#maySpread(entry, free, request)) {
        entry.spreading ??= this.#spread(key, entry, request);
        const waitMs = entry.spreadingSinceMs + this.#limits.spreadWaitMsMax - performance.now();
        if (waitMs > 0) {
          await within(entry.spreading, waitMs);
          continue;
        }
      }
      try {
        if (free) return await free.open(request.authority, request.headers, true);
        if (!entry.opening) {
          const connection = await this.#open(key, entry, request);
          return await connection.open(request.authority, request.headers, false);
        }
      } catch (error) {
        if (!(error instanceof UnprocessedError) || ++unprocessed > unprocessedMax) throw error;
        continue;
      }
      // Another call is opening a connection: share it, or open the next one if it is full by then.
      await entry.opening;
    }
  }

  #entry(key: string, source: string): Entry {
    let entry = this.#entries.get(key);
    if (!entry) {
      entry = {
        source,
        connections: [],
        opening: undefined,
        spreading: undefined,
        spreadingSinceMs: 0,
        noSpreadUntilMs: 0,
        isForgotten: false,
      };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  /**
   * The connection for the next tunnel. Of a spreading request: the oldest one with few tunnels, so that surplus connections become idle
   * when the load falls, else the one with the fewest.
   */
  #choose(entry: Entry, { svid, spread }: TunnelRequest): PoolConnection | undefined {
    let fewest: PoolConnection | undefined;
    for (const connection of entry.connections) {
      if (!connection.isFree || connection.serial !== svid.serial) continue;
      if (spread !== true || connection.tunnels < this.#limits.spreadTunnelsMin) return connection;
      if (!fewest || connection.tunnels < fewest.tunnels) fewest = connection;
    }
    return fewest;
  }

  /** Whether a further connection should be opened before a tunnel goes to this one, which has the fewest. */
  #maySpread(entry: Entry, { tunnels }: PoolConnection, { svid }: TunnelRequest): boolean {
    const { spreadTunnelsMin, spreadConnectionsMax } = this.#limits;
    if (tunnels < spreadTunnelsMin) return false;
    if (entry.spreading) return true;
    if (entry.isForgotten || performance.now() < entry.noSpreadUntilMs) return false;
    const open = entry.connections.filter(({ isInUse, serial }) => isInUse && serial === svid.serial);
    return open.length < spreadConnectionsMax;
  }

  /**
   * Opens a further connection. It joins the others once the peer has sent its SETTINGS: a peer that has no room for it ends it, and no
   * tunnel fails.
   */
  async #spread(key: string, entry: Entry, request: TunnelRequest): Promise<void> {
    entry.spreadingSinceMs = performance.now();
    let isAccepted = false;
    try {
      const connection = await this.#connect(key, entry, request);
      isAccepted = await connection.accepted;
      if (isAccepted && !this.#isClosed) {
        entry.connections.push(connection);
        if (entry.isForgotten) connection.retire();
        else connection.startIdle();
      } else connection.destroy();
    } catch {
      // The tunnels use the connections that are open.
    }
    if (!isAccepted) entry.noSpreadUntilMs = performance.now() + this.#limits.spreadRetryMs;
    entry.spreading = undefined;
    this.#forgetEmpty(key, entry);
  }

  #open(key: string, entry: Entry, request: TunnelRequest): Promise<PoolConnection> {
    const opening = this.#connect(key, entry, request).then((connection) => {
      entry.connections.push(connection);
      return connection;
    });
    entry.opening = opening;
    const clear = (): void => {
      if (entry.opening === opening) entry.opening = undefined;
      this.#forgetEmpty(key, entry);
    };
    opening.then(clear, clear);
    return opening;
  }

  /** Removes an empty entry. Clients can name any number of unreachable destinations, so these must leave nothing behind. */
  #forgetEmpty(key: string, entry: Entry): void {
    if (entry.connections.length > 0 || entry.opening || entry.spreading) return;
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
    this.#orphans.delete(entry);
  }

  /** Connections of this identity with another certificate take no new streams. They are destroyed after `oldCertificateMsMax`. */
  update(svid: Svid): void {
    for (const [key, entry] of this.#entries) {
      if (key.split(' ')[1] !== svid.id) continue;
      for (const connection of entry.connections) if (connection.serial !== svid.serial) connection.retire();
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
      this.#orphans.add(entry);
      entry.isForgotten = true;
      const settle = (): void => {
        for (const connection of entry.connections) connection.retire();
        this.#forgetEmpty(key, entry);
      };
      settle();
      entry.opening?.then(settle, settle);
    }
  }

  /** Retires all connections: no new streams; live streams continue. */
  drain(): void {
    for (const entry of this.#all()) for (const connection of entry.connections) connection.retire();
  }

  close(): void {
    this.#isClosed = true;
    for (const entry of this.#all()) for (const connection of [...entry.connections]) connection.destroy();
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

  async #connect(key: string, entry: Entry, request: TunnelRequest): Promise<PoolConnection> {
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
    return new PoolConnection(socket, {
      serial: request.svid.serial,
      peer,
      limits,
      idleMsMax: (connection) =>
        entry.connections.find(({ isInUse }) => isInUse) === connection
          ? limits.idleConnectionMsMax
          : limits.idleSurplusMsMax,
      onClosed: (connection) => {
        const at = entry.connections.indexOf(connection);
        if (at >= 0) entry.connections.splice(at, 1);
        this.#forgetEmpty(key, entry);
      },
    });
  }
}

/** Resolves with `work`, or after this time. */
function within(work: Promise<void>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    void work.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
