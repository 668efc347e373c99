/** What tunnels say of whom they are for. */
import { parseSocketAddress, type SocketAddress } from '../model/address.js';
import { parseSpiffeId, type SpiffeId } from '../model/identity.js';

/** Of a waypoint to its workloads' nodes: whom it speaks for. Believed from that waypoint alone. */
export const sourceIdentityHeader = 'weft-source-identity';

/** The client's address in a `forwarded` header (RFC 7239); undefined where it is absent or malformed. */
export function forwardedFor(forwarded: string | undefined): SocketAddress | undefined {
  const match = /for="([^"]+)"/.exec(forwarded ?? '');
  try {
    return parseSocketAddress(match?.[1] ?? '');
  } catch {
    return undefined;
  }
}

export function sourceIdentityOf(value: string | undefined): SpiffeId | undefined {
  try {
    return value === undefined ? undefined : parseSpiffeId(value);
  } catch {
    return undefined;
  }
}
