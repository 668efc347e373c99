/** The times of a cluster's connections, from the `timeouts` of its Service port's policy. */
import type { Duplex } from 'node:stream';
import { WeftError } from '../../base/errors.js';
import type { Timeouts } from '../../discovery/gen/weft.js';
import { timerMsMax } from '../../model/duration.js';
import { formatSocketAddress } from '../../model/address.js';
import type { WaypointLimits } from '../limits.js';
import type { Endpoint } from './endpoint.js';

export interface ConnectionTimeouts {
  /** From the begin of a dial until the connection can be used, with TLS and the tunnel. Undefined: the waypoint's own times. */
  readonly connectMs: number | undefined;
  /** Time without a request. Undefined: the waypoint's own. */
  readonly idleMs: number | undefined;
}

export const noConnectionTimeouts: ConnectionTimeouts = { connectMs: undefined, idleMs: undefined };

/** Connections have no dry run. 0 s are no timeout: of connecting, the system's own time is left. */
export function connectionTimeoutsOf(timeouts: Timeouts | undefined): ConnectionTimeouts {
  if (!timeouts || timeouts.dryRun) return noConnectionTimeouts;
  const { connectMs, connectionIdleMs } = timeouts;
  return {
    connectMs: connectMs === 0 ? timerMsMax : connectMs,
    idleMs: connectionIdleMs === 0 ? Infinity : connectionIdleMs,
  };
}

/**
 * The time to open the TCP connection. Never shorter than the waypoint's own: several Services may wait for the same connection of a tunnel,
 * whose other users must not get a shorter time.
 */
export const tcpConnectMs = (
  connectMs: number | undefined,
  limits: Pick<WaypointLimits, 'connectTimeoutMsMax'>,
): number => Math.max(connectMs ?? 0, limits.connectTimeoutMsMax);

/** The connection, or a failure to connect after `ms`; a connection that comes later is closed. */
export function withinConnectTimeout(
  { target }: Endpoint,
  dialed: Promise<Duplex>,
  ms: number | undefined,
): Promise<Duplex> {
  if (ms === undefined) return dialed;
  return new Promise((resolve, reject) => {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      const why = `no connection to ${formatSocketAddress(target)}: timed out after ${ms} ms`;
      reject(new WeftError('WEFT_UPSTREAM_CONNECT', why, { source: 'upstream', retryable: true }));
    }, ms);
    dialed.then(
      (stream) => {
        clearTimeout(timer);
        if (isLate) stream.destroy();
        else resolve(stream);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error as Error);
      },
    );
  });
}
