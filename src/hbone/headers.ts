/** Headers of a CONNECT request that identify the original client. */
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from '../model/address.js';
import { parseSpiffeId, type SpiffeId } from '../model/identity.js';

/** Sent by a waypoint to the nodes of its workloads: the identity of the client. Trusted only from the workload's own waypoint. */
export const sourceIdentityHeader = 'weft-source-identity';

/** The `forwarded` header that states a client. The carrier's rules match this form alone (native/carrier/src/agent/rule_decider.cc). */
export const forwardedOf = (client: SocketAddress): string => `for="${formatSocketAddress(client)}"`;

/** The client's address from a `forwarded` header (RFC 7239); undefined if the header is absent or malformed. */
export function forwardedFor(forwarded: string | undefined): SocketAddress | undefined {
  const match = /for="([^"]+)"/.exec(forwarded ?? '');
  try {
    return parseSocketAddress(match?.[1] ?? '');
  } catch {
    return undefined;
  }
}

/** The identity in a `weft-source-identity` header; undefined if the header is absent or malformed. */
export function sourceIdentityOf(value: string | undefined): SpiffeId | undefined {
  try {
    return value === undefined ? undefined : parseSpiffeId(value);
  } catch {
    return undefined;
  }
}
