/** The descriptor of a socket or listener. Node.js has no public name for it. */
import type net from 'node:net';

/** Undefined if the socket is closed. Descriptors below 3 are never a socket of the agent. */
export function fdOf(socket: net.Socket | net.Server): number | undefined {
  const fd = (socket as typeof socket & { _handle?: { fd?: number } | null })._handle?.fd;
  return fd === undefined || fd < 3 ? undefined : fd;
}
