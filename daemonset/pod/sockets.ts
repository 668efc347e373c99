/**
 * Sockets in pods' namespaces. Every socket that the agent opens there is registered as its own before it connects, so
 * that the hooks leave it alone and its handoff record names the client that it speaks for.
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
  /** 0 where no descriptor leads to it. */
  readonly inode: number;
  readonly cookie: bigint;
}

const listedMax = 65_536;

/** The TCP connections of a pod, as its own kernel has them. Throws NativeError. */
export function connectionsOf(netns: PodNetns): PodConnection[] {
  return tcpConnectionsIn(netns.path, listedMax).map(({ local, remote, inode, cookie }) => ({
    local: { ip: parseIp(local.ip), port: local.port },
    remote: { ip: parseIp(remote.ip), port: remote.port },
    inode,
    cookie,
  }));
}

/** Ends TCP sockets of a pod, their peers see a reset; returns how many there still were. */
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
 * Were this process killed, the kernel would close its sockets in order, and the application would take a connection that
 * was cut for one that ended. So a death sends a reset, until the end was announced in order.
 */
function resetOnDeath(socket: net.Socket): void {
  const fd = fdOf(socket);
  if (fd === undefined) return;
  resetOnClose(fd, true);
  // Emitted once the FIN is on its way and before any close: from here on a reset could overtake data in flight.
  socket.once('prefinish', () => {
    if (!socket.destroyed) resetOnClose(fd, false);
  });
}

/**
 * Node reads nothing from an HTTP/2 connection while a write to it waits: with bulk both ways, two full send buffers would
 * wait for each other for ever. What the peer's connection window lets out always has room here, so no write waits.
 */
function neverWait(fd: number): void {
  sendBuffer(fd, defaultLimits.connectionWindowBytes);
}

/** Connections of one pod that wait to be accepted; net.core.somaxconn of its namespace may be lower. */
const listenBacklog = 4096;
const connectTimeoutMsMax = 10_000;

/** Both ends of an accepted socket, as the kernel has them. */
export interface Ends {
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
}

/** Undefined where the peer was gone before it was looked at. */
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

  /** `pinDir`: where the maps are pinned. Throws NativeError where one of those that are used here is not. */
  constructor(pinDir: string) {
    this.#maps = new NodeMaps(pinDir);
    for (const name of ['weft_sock', 'weft_listeners', 'weft_negative'] as const) this.#maps.get(name);
  }

  /**
   * Listens in the pod's namespace and hands the listener to the kernel's steering. The port it is bound to does not
   * matter to anyone: sk_lookup finds it by the map, so an application that sits on 15001 disturbs nothing.
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
        // Node listens once more, with 511 by itself (the option `backlog` is not read for a descriptor): in a burst a pod would lose
        // connections that it takes for established.
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

  /** Puts a listener into the kernel's table in one step, so that no connection finds the table empty. Error: WEFT_LISTEN, it is closed. */
  steer(netns: PodNetns, kind: ListenerKind, server: net.Server): void {
    const fd = fdOf(server);
    if (fd === undefined) throw new WeftError('WEFT_LISTEN', `the listener in ${netns.path} is closed`);
    this.#maps.listeners.put(netns.cookie, kind, fd);
  }

  /**
   * What the application dialed when it came to the outbound listener, and the endpoint that connect() picked for it;
   * undefined where the kernel has no record. The kernel moves the handoff record to the accepted socket before accept() returns.
   */
  dialedBy(socket: net.Socket): Dialed | undefined {
    const fd = fdOf(socket);
    return fd === undefined ? undefined : this.#maps.sock.dialedBy(fd);
  }

  /**
   * Connects from within the pod's namespace; resolves once connected, paused. `client`: on whose behalf, for what the
   * application's getpeername() shows. Errors: WEFT_DIAL (errno in the cause), WEFT_DIAL_TIMEOUT, NativeError.
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
    // manualStart: reading from a socket that is not connected yet would fail at once.
    // A tunnel's TLS takes this over: half open, it would outlive a peer that was killed, and new streams would hang on it.
    const options = { fd, manualStart: true, allowHalfOpen: use === 'application' };
    const socket = new net.Socket(options as net.SocketConstructorOpts);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        socket.destroy();
        reject(
          new WeftError(
            'WEFT_DIAL_TIMEOUT',
            `no answer from ${to.ip} port ${to.port} in ${connectTimeoutMsMax} ms`,
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

  /** For a moment connect() to this destination is refused at once: what just failed is not tried by everyone. */
  rememberFailure(netns: PodNetns, to: SocketAddress): void {
    this.#maps.negative.remember(netns.cookie, to);
  }

  close(): void {
    this.#maps.close();
  }
}
