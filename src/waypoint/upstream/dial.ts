/** Opens connections to endpoints: by HBONE under the waypoint's own identity, in the client's name, or plain where nobody is enrolled. */
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { connectErrorSource } from '../../base/connect-error.js';
import { errorText, WeftError } from '../../base/errors.js';
import { isEndpointFailure } from '../../hbone/endpoint-failure.js';
import { sourceIdentityHeader } from '../../hbone/headers.js';
import type { TunnelPool } from '../../hbone/pool.js';
import { formatSocketAddress, type SocketAddress } from '../../model/address.js';
import type { SpiffeId } from '../../model/identity.js';
import { resolveWaypoint, waypointMissing } from '../../state/resolve.js';
import type { Svid } from '../../tls/svid.js';
import type { WaypointLimits } from '../limits.js';
import type { WaypointState } from '../state/waypoint-state.js';
import type { Dial } from './connection-pool.js';

const hbonePort = 15008;
/** Of another waypoint, after the first that cannot be reached. */
const otherReplicasMax = 2;

/** Errors: WEFT_UPSTREAM_CONNECT, WEFT_NO_CERTIFICATE, WEFT_WAYPOINT_MISSING, WEFT_WAYPOINT_NOT_ALLOWED, and those of TunnelPool.open. */
export function createDial(
  state: WaypointState,
  pool: TunnelPool,
  svid: () => Svid | undefined,
  limits: WaypointLimits,
  /** How TCP connections are made. */
  reach: typeof connect = connect,
): Dial {
  return async (endpoint, client): Promise<Duplex> => {
    const { workload, target, via } = endpoint;
    if (!via && workload.tunnel === 'none') return reach(target, limits.connectTimeoutMsMax);
    const own = svid();
    if (!own)
      throw new WeftError('WEFT_NO_CERTIFICATE', 'this waypoint has no certificate yet', { retryable: true });
    const through = async (next: SocketAddress, expected: SpiffeId): Promise<Duplex> => {
      const { stream } = await pool.open({
        svid: own,
        expected: [expected],
        destination: next,
        authority: formatSocketAddress(target),
        source: 'waypoint',
        headers: {
          forwarded: `for="${formatSocketAddress(client.address)}"`,
          // Another waypoint judges for this one: it does not believe a word of whom this one speaks for.
          ...(client.identity === undefined || via ? {} : { [sourceIdentityHeader]: client.identity }),
        },
        connect: () => reach(next, limits.connectTimeoutMsMax),
      });
      return stream;
    };
    if (!via) return through({ ip: target.ip, port: hbonePort }, workload.identity);
    const avoid = new Set<string>();
    let last: unknown;
    // To its clients a waypoint is one endpoint: which of its replicas is there is found here, ahead of any byte of the request.
    do {
      const found = resolveWaypoint(state.view, via, Math.random(), avoid);
      if (!found) break;
      try {
        return await through(found.address, found.workload.identity);
      } catch (error) {
        if (!isEndpointFailure(error)) throw error;
        last = error;
        avoid.add(formatSocketAddress(found.address));
      }
    } while (avoid.size <= otherReplicasMax);
    if (last !== undefined) throw last;
    const { code, why } = waypointMissing(workload.uid, via);
    throw new WeftError(code, why);
  };
}

/** `from`: an address of this machine to connect from, where it has several. */
export function connect({ ip, port }: SocketAddress, timeoutMs: number, from?: string): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({
      host: ip,
      port,
      ...(from === undefined ? {} : { localAddress: from }),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
    });
    const fail = (why: string, cause?: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(
        new WeftError(
          'WEFT_UPSTREAM_CONNECT',
          `no connection to ${formatSocketAddress({ ip, port })}: ${why}`,
          {
            source: connectErrorSource(cause),
            retryable: true,
            cause,
          },
        ),
      );
    };
    const timer = setTimeout(() => fail('it timed out'), timeoutMs);
    const onError = (error: Error): void => fail(errorText(error), error);
    socket.once('error', onError);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeListener('error', onError);
      // Its owner listens; until then an error is the close that follows.
      socket.on('error', () => undefined);
      resolve(socket);
    });
  });
}
