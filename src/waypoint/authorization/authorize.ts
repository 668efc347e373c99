/** Whether a client may do what it asks: every policy that has a word in it, wherever the request came from. */
import type { SocketAddress } from '../../model/address.js';
import { authorize, type HttpAttributes, type Verdict } from '../../policy/authorize.js';
import type { Client } from '../listener/client.js';
import type { PolicyGroup } from './policy-groups.js';

/** Each group has to allow it. `http` is absent for bytes that nobody has read as a request. */
export function authorizeClient(
  groups: readonly PolicyGroup[],
  client: Client,
  http: HttpAttributes | undefined,
): Verdict {
  let verdict: Verdict = { allowed: true, reason: 'no-policy', audited: [] };
  for (const { policies, destination, named, others } of groups) {
    let one = decide(policies, destination, client, http);
    // Most requests are audited by nobody: nothing is copied then.
    let audited = one.audited.length > 0 ? [...verdict.audited, ...one.audited] : verdict.audited;
    for (const other of others) {
      if (!one.allowed) break;
      const also = decide(named, other, client, http);
      if (also.audited.length > 0) audited = [...new Set([...audited, ...also.audited])];
      if (!also.allowed) one = also;
    }
    verdict = { ...(one.reason === 'no-policy' ? verdict : one), audited };
    if (!verdict.allowed) return verdict;
  }
  return verdict;
}

const decide = (
  policies: PolicyGroup['policies'],
  { ip, port }: SocketAddress,
  { identity, address }: Client,
  http: HttpAttributes | undefined,
): Verdict =>
  authorize(policies, {
    identity,
    sourceIp: address.ip,
    destinationIp: ip,
    destinationPort: port,
    ...(http ? { http } : {}),
  });
