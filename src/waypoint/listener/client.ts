/** Whose connection it is, as its tunnel proves and its node tells. */
import type { SocketAddress } from '../../model/address.js';
import { workloadIdentityOf, type SpiffeId } from '../../model/identity.js';

export interface Client {
  readonly identity: SpiffeId | undefined;
  readonly address: SocketAddress;
  readonly namespace: string | undefined;
  /** Connections to endpoints are shared within this. */
  readonly key: string;
  /** By what limits tell clients apart: the identity, and its namespace. */
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
