/** Opens connections to endpoints: HBONE with the waypoint's identity on behalf of the client, or plain TCP to workloads without a tunnel. */
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { connectErrorSource } from '../../base/connect-error.js';
import { errorText, WeftError } from '../../base/errors.js';
import { isEndpointFailure } from '../../hbone/endpoint-failure.js';
import { forwardedOf, sourceIdentityHeader } from '../../hbone/headers.js';
import type { TunnelPool } from '../../hbone/pool.js';
import { formatSocketAddress, type SocketAddress } from '../../model/address.js';
import type { SpiffeId } from '../../model/identity.js';
import { resolveWaypoint, waypointMissing } from '../../state/resolve.js';
import type { Svid } from '../../tls/svid.js';
import type { WaypointLimits } from '../limits.js';
import { waypointClient } from '../listener/client.js';
import type { WaypointState } from '../state/waypoint-state.js';
import type { Dial } from './connection-pool.js';
import { certificateProblem, startTls } from './endpoint-tls.js';
import { tcpConnectMs } from './connection-timeouts.js';

const hbonePort = 15008;
/** Replicas of another waypoint that are tried after the first one failed. */
const otherReplicasMax = 2;

/**
 * The `Dial` of a worker. Its errors: WEFT_UPSTREAM_CONNECT, WEFT_UPSTREAM_TLS, WEFT_CLIENT_CERTIFICATE, WEFT_NO_CERTIFICATE, WEFT_WAYPOINT_MISSING,
 * WEFT_WAYPOINT_NOT_ALLOWED, and those of TunnelPool.open.
 */
export function createDial(
  state: WaypointState,
  pool: TunnelPool,
  svid: () => Svid | undefined,
  limits: WaypointLimits,
  /** Opens TCP connections. */
  reach: typeof connect = connect,
): Dial {
  const open: Dial = async (endpoint, client, connectMs): Promise<Duplex> => {
    const tcpMs = tcpConnectMs(connectMs, limits);
    const { workload, target, via } = endpoint;
    if (!via && workload.tunnel === 'none') return reach(target, tcpMs);
    const own = svid();
    if (!own)
      throw new WeftError('WEFT_NO_CERTIFICATE', 'this waypoint has no certificate yet', { retryable: true });
    const through = async (next: SocketAddress, expected: SpiffeId, spread = false): Promise<Duplex> => {
      const { stream } = await pool.open({
        svid: own,
        expected: [expected],
        destination: next,
        authority: formatSocketAddress(target),
        source: 'waypoint',
        headers: {
          // For requests of the waypoint itself the endpoint's node sees this waypoint's identity and address.
          ...(client === waypointClient ? {} : { forwarded: forwardedOf(client.address) }),
          // Another waypoint authorizes this waypoint's identity and ignores the client that this one acts for.
          ...(client.identity === undefined || via ? {} : { [sourceIdentityHeader]: client.identity }),
        },
        connect: () => reach(next, tcpMs),
        spread,
      });
      return stream;
    };
    if (!via) return through({ ip: target.ip, port: hbonePort }, workload.identity);
    const avoid = new Set<string>();
    let last: unknown;
    // A waypoint is one endpoint to its clients. Its reachable replica is found here, before any byte of the request is sent.
    do {
      const found = resolveWaypoint(state.view, via, Math.random(), avoid);
      if (!found) break;
      try {
        return await through(found.address, found.workload.identity, true);
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
  return withTls(open, limits);
}

/**
 * Connections to endpoints that speak TLS themselves, inside of what `open` opens. Errors: WEFT_UPSTREAM_TLS, WEFT_CLIENT_CERTIFICATE, and
 * those of `open`.
 */
export const withTls =
  (open: Dial, limits: Pick<WaypointLimits, 'connectTimeoutMsMax'>): Dial =>
  async (endpoint, client, connectMs) => {
    const problem = endpoint.tls && certificateProblem(endpoint.tls, endpoint.clientCertificate);
    if (problem) throw problem;
    const stream = await open(endpoint, client, connectMs);
    return endpoint.tls ? startTls(stream, endpoint, endpoint.tls, tcpConnectMs(connectMs, limits)) : stream;
  };

/** Opens a TCP connection. Error: WEFT_UPSTREAM_CONNECT. `from`: the local address, if the machine has several. */
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
    const timer = setTimeout(() => fail('timed out'), timeoutMs);
    const onError = (error: Error): void => fail(errorText(error), error);
    socket.once('error', onError);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeListener('error', onError);
      // The owner adds its own listeners. Until then an error is handled by the close that follows it.
      socket.on('error', () => undefined);
      resolve(socket);
    });
  });
}
