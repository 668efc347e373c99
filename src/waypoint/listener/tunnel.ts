/** A tunnel that asks this waypoint for something: what it leads to, and whose it is. What this waypoint does not serve is refused. */
import type { Duplex } from 'node:stream';
import { forwardedFor } from '../../hbone/headers.js';
import type { InboundTunnel } from '../../hbone/server.js';
import { formatSocketAddress, type SocketAddress } from '../../model/address.js';
import { workloadIdentityOf } from '../../model/identity.js';
import { clientOf, type Client } from './client.js';
import { serveConnection } from './connection.js';
import type { ConnectionContext } from '../worker/context.js';
import type { Destination } from './destination.js';
import type { Workload } from '../../model/workload.js';
import type { WaypointState } from '../state/waypoint-state.js';

interface TunnelRefusal {
  readonly status: number;
  readonly code: 'WEFT_NOT_SERVED' | 'WEFT_CONNECTIONS_FULL';
  readonly why: string;
}

/** Undefined where it is served; the refusal that the peer was answered else. */
export function serveTunnel(context: ConnectionContext, tunnel: InboundTunnel): TunnelRefusal | undefined {
  const refuse = (refusal: TunnelRefusal): TunnelRefusal => {
    tunnel.refuse(refusal.status);
    return refusal;
  };
  const destination = destinationOf(
    context.state,
    tunnel.authority,
    workloadIdentityOf(tunnel.peer)?.namespace,
  );
  if (!destination) {
    const why = `${formatSocketAddress(tunnel.authority)} is not served by this waypoint`;
    return refuse({ status: 404, code: 'WEFT_NOT_SERVED', why });
  }
  const client = tunnelClient(tunnel);
  if (serveConnection(context, () => tunnel.accept() as Duplex, client, destination)) return undefined;
  const why = 'this client has as many connections as its share of the limit, or all are in use';
  return refuse({ status: 503, code: 'WEFT_CONNECTIONS_FULL', why });
}

/**
 * Who the certificate says. Whom the peer claims to speak for counts for nothing here: another waypoint is a client as any other. The
 * tunnel's own source is the pod's address, so what its node tells of it must agree; what it adds is the port.
 */
function tunnelClient({ peer, remote, headers }: InboundTunnel): Client {
  const forwarded = forwardedFor(headers.forwarded);
  return clientOf(peer, forwarded?.ip === remote.ip ? forwarded : remote);
}

/** What an authority means to a client of this namespace; undefined where this waypoint does not serve it. */
function destinationOf(
  state: WaypointState,
  authority: SocketAddress,
  clientNamespace: string | undefined,
): Destination | undefined {
  const { view } = state;
  const service = view.serviceByAddress(authority.ip, clientNamespace);
  if (service) {
    if (!state.serves(service, undefined, authority.port)) return undefined;
    if (!service.ports.some(({ servicePort }) => servicePort === authority.port)) return undefined;
    return { kind: 'service', service, port: authority.port, dialled: authority };
  }
  // The client's node has chosen it already, by a Service perhaps: here it only has to be one that this waypoint serves.
  const serves = (one: Workload): boolean => state.serves(undefined, one, authority.port);
  const own = view.workloadByAddress(authority.ip, clientNamespace);
  const workload = own && serves(own) ? own : view.claimantsOf(authority.ip).find(serves);
  if (!workload) return undefined;
  return { kind: 'workload', workload, dialled: authority };
}
