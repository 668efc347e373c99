/** File locks, and the process at the other end of a Unix socket (src/lock.cc). */
import { addon, integer, run, text } from './addon.js';

/**
 * Locks a file, creating it if needed. The returned descriptor holds the lock until it is closed or the process ends. Undefined if
 * another process holds the lock. Error: NativeError.
 */
export function lockFile(path: string): number | undefined {
  const fd = run(() => addon().lock(text(path, 'path')));
  return fd < 0 ? undefined : fd;
}

/** The process ID at the other end of a Unix socket, in this process's PID namespace; 0 if it has none there. Error: NativeError. */
export function peerPid(fd: number): number {
  return run(() => addon().peerPid(integer(fd, 3, 0x7fff_ffff, 'fd')));
}
