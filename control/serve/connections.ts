/**
 * The listener of the control plane's port. Unauthenticated connections (no valid token presented yet) are limited in number, per address and
 * in total, and in time. Further connections wait, and addresses take turns, so that an address with many connections delays only itself.
 */
import { createServer, type Server, type Socket } from 'node:net';

export const connectionLimits = {
  /** Unauthenticated connections of all peers. */
  unauthenticatedMax: 128,
  /** Unauthenticated connections of one address. */
  unauthenticatedPerAddressMax: 32,
  /** Accepted connections that wait for their turn. No byte of them has been read. */
  waitingMax: 4_096,
  /** Authenticated connections of one caller. A starting agent opens one connection per identity that it requests. */
  perCallerMax: 512,
  /** Time from the connection's turn until a token must have been accepted. */
  authenticateMsMax: 5_000,
} as const;

export interface ConnectionsOptions {
  /** Passes a connection to the TLS and HTTP/2 server. */
  readonly onConnection: (socket: Socket) => void;
  /** Called when a connection was ended or refused because of this limit. */
  readonly onLimit: (
    limit: 'control-connections' | 'control-authenticate-time' | 'control-caller-connections',
  ) => void;
  readonly limits?: Partial<Record<keyof typeof connectionLimits, number>>;
}

const keyOf = (address: string | undefined, port: number | undefined): string =>
  `${address ?? ''} ${port ?? 0}`;

export class Connections {
  readonly #limits: Record<keyof typeof connectionLimits, number>;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Unauthenticated connections, by peer address and port. */
  readonly #unauthenticated = new Map<
    string,
    { readonly socket: Socket; readonly authenticated: () => void }
  >();
  readonly #ofCaller = new Map<string, number>();
  readonly #ofAddress = new Map<string, number>();
  /** Waiting connections by peer address, in the order of turns. */
  readonly #waiting = new Map<string, Socket[]>();
  #waits = 0;

  constructor(private readonly options: ConnectionsOptions) {
    this.#limits = { ...connectionLimits, ...options.limits };
    // No byte is read before the connection's turn.
    this.#server = createServer({ pauseOnConnect: true }, (socket) => this.#onSocket(socket));
  }

  /** Resolves with the port. Errors: of listen(). */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject);
        this.#server.on('error', () => undefined);
        const address = this.#server.address();
        resolve(typeof address === 'object' && address ? address.port : port);
      });
    });
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Marks a connection as authenticated by a valid token of `caller`; false if the caller has reached its limit of connections. */
  authenticated(address: string | undefined, port: number | undefined, caller: string): boolean {
    const connection = this.#unauthenticated.get(keyOf(address, port));
    // The connection's first call has counted it already.
    if (!connection) return true;
    const count = this.#ofCaller.get(caller) ?? 0;
    if (count >= this.#limits.perCallerMax) {
      this.options.onLimit('control-caller-connections');
      return false;
    }
    this.#ofCaller.set(caller, count + 1);
    connection.socket.once('close', () => {
      const left = (this.#ofCaller.get(caller) ?? 1) - 1;
      if (left > 0) this.#ofCaller.set(caller, left);
      else this.#ofCaller.delete(caller);
    });
    connection.authenticated();
    return true;
  }

  /** Whether the connection is unauthenticated. */
  isUnauthenticated(address: string | undefined, port: number | undefined): boolean {
    return this.#unauthenticated.has(keyOf(address, port));
  }

  #onSocket(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sockets.delete(socket));
    const address = socket.remoteAddress;
    if (address === undefined) return void socket.destroy();
    if (this.#waits >= this.#limits.waitingMax) {
      this.options.onLimit('control-connections');
      return void socket.destroy();
    }
    const queue = this.#waiting.get(address);
    if (queue) queue.push(socket);
    else this.#waiting.set(address, [socket]);
    this.#waits++;
    this.#next();
  }

  #next(): void {
    for (const [address, queue] of this.#waiting) {
      if (this.#unauthenticated.size >= this.#limits.unauthenticatedMax) return;
      if ((this.#ofAddress.get(address) ?? 0) >= this.#limits.unauthenticatedPerAddressMax) continue;
      const socket = queue.shift();
      this.#waits--;
      // The address moves to the end of the map: addresses take turns.
      this.#waiting.delete(address);
      if (queue.length > 0) this.#waiting.set(address, queue);
      if (socket && !socket.destroyed) this.#begin(address, socket);
    }
  }

  #begin(address: string, socket: Socket): void {
    const key = keyOf(address, socket.remotePort);
    this.#ofAddress.set(address, (this.#ofAddress.get(address) ?? 0) + 1);
    const authenticated = (): void => {
      if (!this.#unauthenticated.delete(key)) return;
      clearTimeout(timer);
      const count = (this.#ofAddress.get(address) ?? 1) - 1;
      if (count > 0) this.#ofAddress.set(address, count);
      else this.#ofAddress.delete(address);
      if (this.#waits > 0) setImmediate(() => this.#next());
    };
    const timer = setTimeout(() => {
      this.options.onLimit('control-authenticate-time');
      socket.destroy();
    }, this.#limits.authenticateMsMax);
    this.#unauthenticated.set(key, { socket, authenticated });
    socket.once('close', authenticated);
    this.options.onConnection(socket);
  }
}
