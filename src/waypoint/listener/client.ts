/** A client: the identity of the tunnel's certificate, and the source address that the client's node reports. */
import type { ClientMatch } from '../../discovery/gen/weft.js';
import { parseIp, type SocketAddress } from '../../model/address.js';
import { workloadIdentityOf, type SpiffeId } from '../../model/identity.js';

export interface Client {
  readonly identity: SpiffeId | undefined;
  readonly address: SocketAddress;
  readonly namespace: string | undefined;
  /** Connections to endpoints are pooled by this key: identity and IP address. */
  readonly key: string;
  /** Limits are shared fairly between clients by `name` (the identity) and `group` (its namespace). */
  readonly name: string;
  readonly group: string;
}

export function clientOf(identity: SpiffeId | undefined, address: SocketAddress): Client {
  const namespace = identity && workloadIdentityOf(identity)?.namespace;
  return {
    identity,
    address,
    namespace,
    name: identity ?? '',
    group: namespace ?? '',
    key: `${identity ?? ''} ${address.ip}`,
  };
}

/** The waypoint itself, as the client of requests of its own: endpoints see the waypoint's certificate and address. */
export const waypointClient: Client = {
  ...clientOf(undefined, { ip: parseIp('0.0.0.0'), port: 0 }),
  key: 'waypoint',
  name: 'waypoint',
};

/** Whether one of the matches names the client's identity. A client without an identity is nobody's. */
export function isFrom({ identity }: Pick<Client, 'identity'>, from: readonly ClientMatch[]): boolean {
  if (from.length === 0) return false;
  const own = identity && workloadIdentityOf(identity);
  return (
    own !== undefined &&
    from.some(
      ({ namespace, serviceAccount }) =>
        namespace === own.namespace && (serviceAccount === '' || serviceAccount === own.serviceAccount),
    )
  );
}
