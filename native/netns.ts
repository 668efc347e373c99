/** Sockets and TCP connections in network namespaces (src/netns.cc, src/diag.cc). */
import { addon, integer, NativeError, refuse, run, text } from './addon.js';

/**
 * The addon keeps a descriptor of each network namespace for a moment, because a batch of work visits the same one several times. An open
 * descriptor keeps a namespace alive.
 */
const keptMs = 500;
let sweeping: NodeJS.Timeout | undefined;

function visit<T>(netns: string, call: () => T): T {
  if (netns !== '' && !sweeping) {
    sweeping = setInterval(() => {
      if (addon().sweepNetns(keptMs) > 0) return;
      clearInterval(sweeping);
      sweeping = undefined;
    }, keptMs).unref();
  }
  return run(call);
}

export const socketsMax = 64;
const staleErrno = 116;

/** Whether an error says that another network namespace is at the path by now. */
export function isStaleNetns(error: unknown): boolean {
  return error instanceof NativeError && error.errno === staleErrno;
}

function cookieArgument(cookie: bigint | undefined): bigint {
  if (cookie === undefined) return 0n;
  return typeof cookie === 'bigint' && cookie > 0n && cookie < 1n << 64n
    ? cookie
    : refuse('cookie (a bigint)');
}

/**
 * Unconnected TCP sockets in the network namespace at `netns` (a path, empty for the caller's own namespace), in one visit: at most
 * `count`, at least one. `cookie`: of the namespace that the caller means; the call fails if another one is at the path by now
 * ({@link isStaleNetns}). The caller owns the descriptors. Error: NativeError.
 */
export function socketsIn(netns: string, family: 4 | 6, count: number, cookie?: bigint): number[] {
  text(netns, 'netns');
  integer(count, 1, socketsMax, 'count');
  const expected = cookieArgument(cookie);
  return visit(netns, () => addon().sockets(netns, family === 6 ? 6 : 4, count, expected));
}

/** An unconnected TCP socket in the network namespace at `netns`. The caller owns the descriptor. Error: NativeError. */
export function socketIn(netns: string, family: 4 | 6): number {
  return socketsIn(netns, family, 1)[0]!;
}

export interface ListenAddress {
  readonly ip: string;
  readonly port: number;
}

/**
 * Listening TCP sockets in the network namespace at `netns`, in one visit: for each list one, at its first address that is free. `::`
 * listens on both families; port 0 picks a free port. All or none. `cookie`: as in {@link socketsIn}. The caller owns the descriptors.
 * Error: NativeError.
 */
export function listenersIn(
  netns: string,
  lists: readonly (readonly ListenAddress[])[],
  backlog = 4096,
  cookie?: bigint,
): number[] {
  text(netns, 'netns');
  const addresses = lists.map((list) => {
    if (list.length === 0) refuse('addresses (at least one)');
    return list.map(({ ip, port }) => [text(ip, 'ip'), integer(port, 0, 65535, 'port')] as const);
  });
  integer(backlog, 1, 65535, 'backlog');
  const expected = cookieArgument(cookie);
  return visit(netns, () => addon().listeners(netns, addresses, backlog, expected));
}

/** One listening TCP socket in the network namespace at `netns`. The caller owns the descriptor. Error: NativeError. */
export function listenIn(netns: string, ip: string, port: number, backlog = 4096): number {
  return listenersIn(netns, [[{ ip, port }]], backlog)[0]!;
}

/** The kernel's cookie of a network namespace. `netns` is a path, empty for the caller's own namespace. Error: NativeError. */
export function netnsCookie(netns: string): bigint {
  text(netns, 'netns');
  return visit(netns, () => addon().cookie(netns));
}

/** Calls of setns() by this process so far. */
export function setnsCalls(): number {
  return addon().setnsCalls();
}

/** A descriptor of the network namespace at a path. The caller owns it. Error: NativeError. */
export function openNetns(path: string): number {
  return run(() => addon().openNetns(text(path, 'path')));
}

export function closeFd(fd: number): void {
  run(() => addon().closeFd(integer(fd, 3, 0x7fff_ffff, 'fd')));
}

/** Sets whether closing this TCP socket sends a reset. This includes the close by the kernel when the process dies. */
export function resetOnClose(fd: number, on: boolean): void {
  run(() => addon().resetOnClose(integer(fd, 3, 0x7fff_ffff, 'fd'), on === true));
}

/**
 * Sets a TCP socket's send buffer to `byteCount` unsent bytes, beyond net.core.wmem_max. Error: NATIVE_PERMISSION without
 * CAP_NET_ADMIN. Sockets that a listener accepts inherit its buffer size.
 */
export function sendBuffer(fd: number, byteCount: number): void {
  run(() => addon().sendBuffer(integer(fd, 3, 0x7fff_ffff, 'fd'), integer(byteCount, 1, 1 << 30, 'bytes')));
}

export interface TcpEnd {
  readonly ip: string;
  readonly port: number;
}

/** A connected socket of a network namespace; `local` is its own end. */
export interface TcpConnection {
  readonly local: TcpEnd;
  readonly remote: TcpEnd;
  /** The inode as /proc/PID/fd shows it; 0 if no descriptor refers to the socket (not yet, or no longer). */
  readonly inode: number;
  readonly cookie: bigint;
}

/**
 * TCP connections in the network namespace at `netns` that are established or closing, at most `max`, in the kernel's order. Error:
 * NativeError.
 */
export function tcpConnectionsIn(netns: string, max: number): TcpConnection[] {
  text(netns, 'netns');
  integer(max, 0, 1_000_000, 'max');
  return visit(netns, () => addon().tcpConnections(netns, max)).map(
    ([localIp, localPort, remoteIp, remotePort, inode, cookie]) => ({
      local: { ip: localIp, port: localPort },
      remote: { ip: remoteIp, port: remotePort },
      inode,
      cookie,
    }),
  );
}

/** One end of a connection, by its socket. */
export interface TcpSocket {
  readonly local: TcpEnd;
  readonly remote: TcpEnd;
  /** The socket's cookie: distinguishes the socket from a later one with the same addresses. */
  readonly cookie: bigint;
}

/**
 * Ends TCP sockets in the network namespace at `netns` with SOCK_DESTROY: their owners' calls fail with ECONNABORTED, and their
 * peers see a reset. Returns how many of the sockets existed. Stops at the first socket that the kernel refuses to end. Error:
 * NATIVE_SYSTEM with errno 95 on a kernel without CONFIG_INET_DIAG_DESTROY.
 */
export function destroyTcpIn(netns: string, sockets: readonly TcpSocket[]): number {
  if (!Array.isArray(sockets)) refuse('sockets (an array)');
  const ends = sockets.map(({ local, remote, cookie }) => {
    if (typeof cookie !== 'bigint') refuse('cookie (a bigint)');
    return [
      text(local.ip, 'ip'),
      integer(local.port, 0, 65535, 'port'),
      text(remote.ip, 'ip'),
      integer(remote.port, 0, 65535, 'port'),
      cookie,
    ] as [string, number, string, number, bigint];
  });
  text(netns, 'netns');
  return visit(netns, () => addon().destroyTcp(netns, ends));
}
