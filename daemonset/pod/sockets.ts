/**
 * Sockets in pods' network namespaces. Every socket that the agent opens there is marked as the agent's before it connects, so that
 * the hooks do not capture it and its handoff record names the client on whose behalf it connects.
 */
import net from 'node:net';
import type { SocketAddress } from '../../src/model/address.js';
import { isV6, parseIp } from '../../src/model/address.js';
import {
  closeFd,
  destroyTcpIn,
  listenersIn,
  netnsCookie,
  resetOnClose,
  sendBuffer,
  tcpConnectionsIn,
  type TcpSocket,
} from '../../native/index.js';

import { fdOf } from '../socket-fd.js';
import { connectErrorSource } from '../../src/base/connect-error.js';
import { errorText, WeftError } from '../../src/base/errors.js';
import { defaultLimits } from '../../src/hbone/limits.js';
import type { ListenerKind } from '../maps/listeners.js';
import { NodeMaps } from '../maps/node-maps.js';
import { ports } from '../maps/rows.generated.js';
import type { Dialed } from '../maps/sock.js';
import type { PodNetns } from './netns.js';
import { SocketStock } from './socket-stock.js';

export { netnsCookie };

export interface PodConnection {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** 0 if no descriptor refers to the socket. */
  readonly inode: number;
  readonly cookie: bigint;
}

const listedMax = 65_536;

/** TCP connections of a pod's network namespace, at most 65536. Error: NativeError. */
export function connectionsOf(netns: PodNetns): PodConnection[] {
  return tcpConnectionsIn(netns.path, listedMax).map(({ local, remote, inode, cookie }) => ({
    local: { ip: parseIp(local.ip), port: local.port },
    remote: { ip: parseIp(remote.ip), port: remote.port },
    inode,
    cookie,
  }));
}

/** Ends TCP sockets of a pod; their peers see a reset. Returns how many still existed. Error: NativeError. */
export function destroyTcp(netns: PodNetns, sockets: readonly TcpSocket[]): number {
  return destroyTcpIn(netns.path, sockets);
}

export type { PodNetns, TcpSocket };

/**
 * If this process is killed, the kernel closes its sockets with a FIN, and the application would take a truncated stream for a complete
 * one. So the socket sends a reset if the process dies before the agent has sent its own FIN.
 */
function resetOnDeath(socket: net.Socket): void {
  const fd = fdOf(socket);
  if (fd === undefined) return;
  resetOnClose(fd, true);
  // prefinish is emitted when the FIN is about to be sent, before any close. After it, a reset could overtake data in flight.
  socket.once('prefinish', () => {
    if (!socket.destroyed) resetOnClose(fd, false);
  });
}

/**
 * The send buffer holds a whole connection window: what the windows of a connection's tunnels allow leaves the process at once, and the
 * kernel sends it while the worker serves other connections.
 */
export function neverWait(fd: number): void {
  sendBuffer(fd, defaultLimits.connectionWindowBytes);
}

/** Maximum connections of one pod that wait for accept(); net.core.somaxconn of its network namespace may be lower. */
const listenBacklog = 4096;
const connectTimeoutMsMax = 10_000;

/** Both addresses of an accepted socket, from the kernel. */
export interface Ends {
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
}

/** The addresses of a socket; undefined if the peer has already disconnected. */
export function endsOf(socket: net.Socket): Ends | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (
    remoteAddress === undefined ||
    remotePort === undefined ||
    localAddress === undefined ||
    localPort === undefined
  ) {
    return undefined;
  }
  return {
    remote: { ip: parseIp(remoteAddress), port: remotePort },
    local: { ip: parseIp(localAddress), port: localPort },
  };
}

/** Listening sockets in a pod's network namespace, one for each kind. The caller owns the descriptors. Error: WEFT_LISTEN. */
export function listenAll(netns: PodNetns, kinds: readonly ListenerKind[]): number[] {
  try {
    return listenersIn(
      netns.path,
      kinds.map((kind) => [
        { ip: '::', port: ports[kind] },
        { ip: '::', port: 0 },
        { ip: '0.0.0.0', port: 0 },
      ]),
      listenBacklog,
      netns.cookie,
    );
  } catch (error) {
    throw new WeftError('WEFT_LISTEN', `cannot listen in ${netns.path}: ${errorText(error)}`, {
      retryable: true,
      cause: error,
    });
  }
}

/** Accepts connections of a listening socket, which the server owns from then on. On an error the caller still owns it. */
async function serve(
  kind: ListenerKind,
  fd: number,
  onConnection: (socket: net.Socket) => void,
): Promise<net.Server> {
  if (kind === 'hbone') neverWait(fd);
  const server = net.createServer(
    { allowHalfOpen: kind !== 'hbone', pauseOnConnect: true, noDelay: true },
    (socket) => {
      if (kind !== 'hbone') resetOnDeath(socket);
      onConnection(socket);
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // Node.js calls listen() again, with a backlog of 511 by default (it ignores the option `backlog` for a descriptor). In a burst
    // the pod would lose connections that it takes for established.
    server.listen({ fd }, listenBacklog, resolve);
  });
  return server;
}

export class PodSockets {
  readonly #maps: NodeMaps;
  readonly #stock = new SocketStock();

  /** `pinDir`: where the maps are pinned. Error: NativeError, a map used here is missing. */
  constructor(pinDir: string) {
    this.#maps = new NodeMaps(pinDir);
    for (const name of ['weft_sock', 'weft_listeners', 'weft_negative'] as const) this.#maps.get(name);
  }

  /**
   * Listens in the pod's network namespace, for each kind with one socket, and enters the listeners in weft_listeners. sk_lookup finds a
   * listener by the map, so its port does not matter: if an application already uses 15001, the agent listens on another port. All or none.
   * Error: WEFT_LISTEN.
   */
  async listen(
    netns: PodNetns,
    handlers: ReadonlyMap<ListenerKind, (socket: net.Socket) => void>,
  ): Promise<Map<ListenerKind, net.Server>> {
    const fds = listenAll(netns, [...handlers.keys()]);
    const servers = new Map<ListenerKind, net.Server>();
    try {
      for (const [kind, onConnection] of handlers) {
        servers.set(kind, await serve(kind, fds[0]!, onConnection));
        fds.shift();
      }
      for (const [kind, server] of servers) this.steer(netns, kind, server);
    } catch (error) {
      for (const fd of fds) closeFd(fd);
      for (const server of servers.values()) server.close();
      throw error;
    }
    return servers;
  }

  /** Replaces the listener in weft_listeners atomically: no connection finds the entry missing. Error: WEFT_LISTEN, it is closed. */
  steer(netns: PodNetns, kind: ListenerKind, server: net.Server): void {
    const fd = fdOf(server);
    if (fd === undefined) throw new WeftError('WEFT_LISTEN', `the listener in ${netns.path} is closed`);
    this.#maps.listeners.put(netns.cookie, kind, fd);
  }

  /**
   * The address that the application dialed, for a connection accepted by the outbound listener, and the endpoint that connect() picked.
   * Undefined if the kernel has no record. The kernel moves the handoff record to the accepted socket before accept() returns.
   */
  dialedBy(socket: net.Socket): Dialed | undefined {
    const fd = fdOf(socket);
    return fd === undefined ? undefined : this.#maps.sock.dialedBy(fd);
  }

  /**
   * Connects from the pod's network namespace; resolves with the connected socket, paused. `client`: the client on whose behalf it
   * connects, which the application's getpeername() shows. Errors: WEFT_DIAL (errno in the cause), WEFT_DIAL_TIMEOUT, NativeError.
   */
  dial(
    netns: PodNetns,
    to: SocketAddress,
    client?: SocketAddress,
    use: 'application' | 'tunnel' = 'application',
  ): Promise<net.Socket> {
    let fd: number | undefined;
    try {
      fd = this.#stock.take(netns, isV6(to.ip) ? 6 : 4);
      this.#maps.sock.markOwn(fd, client);
      if (use === 'tunnel') neverWait(fd);
    } catch (error) {
      if (fd !== undefined) closeFd(fd);
      return Promise.reject(error instanceof Error ? error : new Error(String(error)));
    }
    // manualStart: reading from an unconnected socket would fail at once.
    // A tunnel's TLS socket inherits allowHalfOpen: half open, it would outlive a killed peer, and new streams would hang on it.
    const options = { fd, manualStart: true, allowHalfOpen: use === 'application' };
    const socket = new net.Socket(options as net.SocketConstructorOpts);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        socket.destroy();
        reject(
          new WeftError(
            'WEFT_DIAL_TIMEOUT',
            `no response from ${to.ip} port ${to.port} within ${connectTimeoutMsMax} ms`,
            {
              source: 'upstream',
              retryable: true,
            },
          ),
        );
      }, connectTimeoutMsMax);
      const onError = (error: Error): void => {
        clearTimeout(timer);
        socket.destroy();
        reject(
          new WeftError('WEFT_DIAL', `cannot connect to ${to.ip} port ${to.port}: ${errorText(error)}`, {
            source: connectErrorSource(error),
            retryable: true,
            cause: error,
          }),
        );
      };
      socket.once('error', onError);
      socket.connect({ host: to.ip, port: to.port }, () => {
        clearTimeout(timer);
        socket.removeListener('error', onError);
        socket.setNoDelay(true);
        socket.setKeepAlive(true, 180_000);
        if (client) resetOnDeath(socket);
        socket.pause();
        resolve(socket);
      });
    });
  }

  /** Makes the kernel refuse connect() to this destination for a short time, so that not every client retries a failed one. */
  rememberFailure(netns: PodNetns, to: SocketAddress): void {
    this.#maps.negative.remember(netns.cookie, to);
  }

  /** The pod is gone. Its connections continue. */
  forget(netns: PodNetns): void {
    this.#stock.forget(netns.cookie);
  }

  close(): void {
    this.#stock.close();
    this.#maps.close();
  }
}
