/** Whose connection it is, as its tunnel proves and its node tells. */
import type { SocketAddress } from '../model/address.js';
import { workloadIdentityOf, type SpiffeId } from '../model/identity.js';

export interface Client {
  readonly identity: SpiffeId | undefined;
  readonly address: SocketAddress;
  readonly namespace: string | undefined;
  /** Connections to endpoints are shared within this. */
  readonly key: string;
}

export function clientOf(identity: SpiffeId | undefined, address: SocketAddress): Client {
  return {
    identity,
    address,
    namespace: identity && workloadIdentityOf(identity)?.namespace,
    key: `${identity ?? ''} ${address.ip}`,
  };
}
