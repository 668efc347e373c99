/**
 * Sockets in pods' network namespaces. Every socket that the agent opens there is registered as the agent's before it connects, so that the
 * hooks do not capture it and its handoff record names the client on whose behalf it connects.
 */
import net from 'node:net';
import type { SocketAddress } from '../../src/model/address.js';
import { isV6, parseIp } from '../../src/model/address.js';
import {
  closeFd,
  destroyTcpIn,
  listenIn,
  netnsCookie,
  resetOnClose,
  sendBuffer,
  socketIn,
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

export { netnsCookie };

export interface PodConnection {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** Inode of the socket; 0 if no descriptor refers to it. */
  readonly inode: number;
  readonly cookie: bigint;
}

const listedMax = 65_536;

/** The TCP connections of a pod, as the kernel lists them in its network namespace. Throws NativeError. */
export function connectionsOf(netns: PodNetns): PodConnection[] {
  return tcpConnectionsIn(netns.path, listedMax).map(({ local, remote, inode, cookie }) => ({
    local: { ip: parseIp(local.ip), port: local.port },
    remote: { ip: parseIp(remote.ip), port: remote.port },
    inode,
    cookie,
  }));
}

/** Destroys TCP sockets of a pod; their peers see a reset. Returns how many still existed. */
export function destroyTcp(netns: PodNetns, sockets: readonly TcpSocket[]): number {
  return destroyTcpIn(netns.path, sockets);
}

export type { TcpSocket };

/** A pod's network namespace; plain data. */
export interface PodNetns {
  readonly cookie: bigint;
  /** Path of the network namespace. */
  readonly path: string;
}

/**
 * Makes a killed agent send a reset. Otherwise the kernel would close the sockets in order, and the application would take a connection
 * that was cut for one that ended. The reset stays armed until the end was announced in order.
 */
function resetOnDeath(socket: net.Socket): void {
  const fd = fdOf(socket);
  if (fd === undefined) return;
  resetOnClose(fd, true);
  // Emitted once the FIN is on its way and before any close. From here on a reset could overtake data in flight.
  socket.once('prefinish', () => {
    if (!socket.destroyed) resetOnClose(fd, false);
  });
}

/**
 * Makes the send buffer as large as the peer's connection window, so that no write waits. Node does not read from an HTTP/2 connection
 * while a write to it waits: with bulk data both ways, two full send buffers would wait for each other for ever.
 */
function neverWait(fd: number): void {
  sendBuffer(fd, defaultLimits.connectionWindowBytes);
}

/** Connections of one pod that may wait to be accepted; net.core.somaxconn of its network namespace may be lower. */
const listenBacklog = 4096;
const connectTimeoutMsMax = 10_000;

/** Both addresses of an accepted socket. */
export interface Ends {
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
}

/** Undefined if the peer had closed before the addresses were read. */
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

export class PodSockets {
  readonly #maps: NodeMaps;

  /**
   * Throws NativeError if one of the maps that are used here is not pinned.
   * @param pinDir directory of the pinned maps
   */
  constructor(pinDir: string) {
    this.#maps = new NodeMaps(pinDir);
    for (const name of ['weft_sock', 'weft_listeners', 'weft_negative'] as const) this.#maps.get(name);
  }

  /**
   * Listens in the pod's network namespace and puts the listener into the kernel's table. The bound port does not matter: sk_lookup finds
   * the listener by the table, so an application that listens on 15001 causes no conflict. Errors: WEFT_LISTEN, NativeError.
   */
  async listen(
    netns: PodNetns,
    kind: ListenerKind,
    onConnection: (socket: net.Socket) => void,
  ): Promise<net.Server> {
    let fd: number | undefined;
    const failures: unknown[] = [];
    for (const [ip, port] of [
      ['::', ports[kind]],
      ['::', 0],
      ['0.0.0.0', 0],
    ] as const) {
      try {
        fd = listenIn(netns.path, ip, port, listenBacklog);
        break;
      } catch (error) {
        failures.push(error);
      }
    }
    if (fd === undefined) {
      throw new WeftError('WEFT_LISTEN', `cannot listen in ${netns.path}: ${errorText(failures.at(-1))}`, {
        retryable: true,
        cause: failures.at(-1),
      });
    }
    const server = net.createServer(
      { allowHalfOpen: kind !== 'hbone', pauseOnConnect: true, noDelay: true },
      (socket) => {
        if (kind !== 'hbone') resetOnDeath(socket);
        onConnection(socket);
      },
    );
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        // Node calls listen() again, with a backlog of 511 by default (the option `backlog` is ignored for a descriptor). In a burst the
        // pod would then lose connections that it considers established.
        server.listen({ fd }, listenBacklog, resolve);
      });
      if (kind === 'hbone') neverWait(fd);
      this.steer(netns, kind, server);
    } catch (error) {
      if (server.listening) server.close();
      else closeFd(fd);
      throw error;
    }
    return server;
  }

  /**
   * Puts a listener into the kernel's table in one step, so that no connection finds the table empty. Error: WEFT_LISTEN if the listener is
   * closed.
   */
  steer(netns: PodNetns, kind: ListenerKind, server: net.Server): void {
    const fd = fdOf(server);
    if (fd === undefined) throw new WeftError('WEFT_LISTEN', `the listener in ${netns.path} is closed`);
    this.#maps.listeners.put(netns.cookie, kind, fd);
  }

  /**
   * The destination that the application dialed before the connection came to the outbound listener, and the endpoint that connect()
   * picked. Undefined if the kernel has no handoff record. The kernel moves the record to the accepted socket before accept() returns.
   */
  dialedBy(socket: net.Socket): Dialed | undefined {
    const fd = fdOf(socket);
    return fd === undefined ? undefined : this.#maps.sock.dialedBy(fd);
  }

  /**
   * Connects from the pod's network namespace. Resolves once connected, paused. Errors: WEFT_DIAL (errno in the cause), WEFT_DIAL_TIMEOUT,
   * NativeError.
   * @param client on whose behalf; the application's getpeername() shows this address
   */
  dial(
    netns: PodNetns,
    to: SocketAddress,
    client?: SocketAddress,
    use: 'application' | 'tunnel' = 'application',
  ): Promise<net.Socket> {
    const fd = socketIn(netns.path, isV6(to.ip) ? 6 : 4);
    try {
      this.#maps.sock.markOwn(fd, client);
      if (use === 'tunnel') neverWait(fd);
    } catch (error) {
      closeFd(fd);
      return Promise.reject(error instanceof Error ? error : new Error(String(error)));
    }
    // manualStart: reading from a socket that is not connected yet would fail at once. allowHalfOpen: TLS takes over a tunnel's socket;
    // half open, it would outlive a peer that was killed, and new streams would hang on it.
    const options = { fd, manualStart: true, allowHalfOpen: use === 'application' };
    const socket = new net.Socket(options as net.SocketConstructorOpts);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        socket.destroy();
        reject(
          new WeftError(
            'WEFT_DIAL_TIMEOUT',
            `no response from ${to.ip} port ${to.port} in ${connectTimeoutMsMax} ms`,
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

  /** Makes connect() to this destination fail at once for a moment, so that not every client retries a destination that just failed. */
  rememberFailure(netns: PodNetns, to: SocketAddress): void {
    this.#maps.negative.remember(netns.cookie, to);
  }

  close(): void {
    this.#maps.close();
  }
}
