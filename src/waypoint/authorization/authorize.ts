/** Authorizes a client against all policy groups of a request or a connection. */
import type { SocketAddress } from '../../model/address.js';
import { authorize, type HttpAttributes, type Verdict } from '../../policy/authorize.js';
import type { Client } from '../listener/client.js';
import type { PolicyGroup } from './endpoint-policies.js';

/** Every group has to allow the client. `http` is undefined for a connection that is not HTTP. */
export function authorizeClient(
  groups: readonly PolicyGroup[],
  client: Client,
  http: HttpAttributes | undefined,
): Verdict {
  let verdict: Verdict = { allowed: true, reason: 'no-policy', audited: [] };
  for (const { policies, destination, named, others } of groups) {
    let one = decide(policies, destination, client, http);
    // Few requests match a policy in audit mode: without one, nothing is copied.
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
