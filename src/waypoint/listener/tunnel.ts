/** Accepts or refuses a tunnel by its destination and its client. Destinations that this waypoint does not serve are refused. */
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

/** Serves a tunnel. Undefined: the tunnel was accepted; else the refusal that was sent to the peer. */
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
  const why = "connection limit reached, of this waypoint or of this client's share";
  return refuse({ status: 503, code: 'WEFT_CONNECTIONS_FULL', why });
}

/**
 * The client is the identity of the certificate. An identity that the peer claims to act for is ignored: another waypoint is a client like
 * any other. The tunnel's source address is the pod's, so the address in `forwarded` has to agree with it; the header adds the port.
 */
function tunnelClient({ peer, remote, headers }: InboundTunnel): Client {
  const forwarded = forwardedFor(headers.forwarded);
  return clientOf(peer, forwarded?.ip === remote.ip ? forwarded : remote);
}

/** The destination of an authority for a client in this namespace; undefined if this waypoint does not serve it. */
export function destinationOf(
  state: WaypointState,
  authority: SocketAddress,
  clientNamespace: string | undefined,
): Destination | undefined {
  const { view } = state;
  const service = view.serviceByAddress(authority.ip, clientNamespace);
  if (service) {
    if (!state.serves(service, undefined, authority.port)) return undefined;
    if (!service.ports.some(({ servicePort }) => servicePort === authority.port)) return undefined;
    return { kind: 'service', service, port: authority.port, dialed: authority };
  }
  // The client's node has already chosen the workload, perhaps by a Service: here it only has to be one that this waypoint serves.
  const serves = (one: Workload): boolean => state.serves(undefined, one, authority.port);
  const own = view.workloadByAddress(authority.ip, clientNamespace);
  const workload = own && serves(own) ? own : view.claimantsOf(authority.ip).find(serves);
  if (!workload) return undefined;
  return { kind: 'workload', workload, dialed: authority };
}
