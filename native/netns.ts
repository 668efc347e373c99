/** Sockets in network namespaces, and TCP connections there (src/netns.cc, src/diag.cc). */
import { addon, integer, refuse, run, text } from './addon.js';

/** A TCP socket, not yet connected, in the namespace at `netns` (a path); the caller owns the descriptor. */
export function socketIn(netns: string, family: 4 | 6): number {
  return run(() => addon().socket(text(netns, 'netns'), family === 6 ? 6 : 4));
}

/** A listening TCP socket in the namespace at `netns`; `::` takes both families; port 0 takes any. */
export function listenIn(netns: string, ip: string, port: number, backlog = 4096): number {
  return run(() =>
    addon().listen(
      text(netns, 'netns'),
      text(ip, 'ip'),
      integer(port, 0, 65535, 'port'),
      integer(backlog, 1, 65535, 'backlog'),
    ),
  );
}

/** The kernel's cookie of a network namespace: `netns` is a path, empty for the caller's own. */
export function netnsCookie(netns: string): bigint {
  return run(() => addon().cookie(text(netns, 'netns')));
}

export function closeFd(fd: number): void {
  run(() => addon().closeFd(integer(fd, 3, 0x7fff_ffff, 'fd')));
}

/** Whether close() of this TCP socket, also the kernel's own when the process dies, sends a reset. */
export function resetOnClose(fd: number, on: boolean): void {
  run(() => addon().resetOnClose(integer(fd, 3, 0x7fff_ffff, 'fd'), on === true));
}

/**
 * Room for that many unsent bytes in a TCP socket, whatever net.core.wmem_max says (CAP_NET_ADMIN, else NATIVE_PERMISSION).
 * Sockets that a listener accepts have the listener's.
 */
export function sendBuffer(fd: number, byteCount: number): void {
  run(() => addon().sendBuffer(integer(fd, 3, 0x7fff_ffff, 'fd'), integer(byteCount, 1, 1 << 30, 'bytes')));
}

export interface TcpEnd {
  readonly ip: string;
  readonly port: number;
}

/** A socket of the namespace, from its own side. */
export interface TcpConnection {
  readonly local: TcpEnd;
  readonly remote: TcpEnd;
  /** As /proc/PID/fd shows it; 0 where no descriptor leads to it yet or any more. */
  readonly inode: number;
  readonly cookie: bigint;
}

/** TCP connections in the namespace at `netns` that are established or being closed, at most `max`, in the kernel's order. */
export function tcpConnectionsIn(netns: string, max: number): TcpConnection[] {
  return run(() => addon().tcpConnections(text(netns, 'netns'), integer(max, 0, 1_000_000, 'max'))).map(
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
  /** The socket's, so that another of the same addresses is never meant. */
  readonly cookie: bigint;
}

/**
 * Ends TCP sockets in the namespace at `netns` as SOCK_DESTROY does: their owners' calls fail with ECONNABORTED, their peers
 * see a reset. Returns how many there were; stops at the first that the kernel refuses. NATIVE_SYSTEM with errno 95 on a
 * kernel without CONFIG_INET_DIAG_DESTROY.
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
  return run(() => addon().destroyTcp(text(netns, 'netns'), ends));
}
