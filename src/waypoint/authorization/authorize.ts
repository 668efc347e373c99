/** Authorizes a client against all policy groups of a request or a connection. */
import type { SocketAddress } from '../../model/address.js';
import { authorize, type HttpAttributes, type Verdict } from '../../policy/authorize.js';
import type { Client } from '../listener/client.js';
import type { PolicyGroup } from './endpoint-policies.js';

/**
 * Every group has to allow the client.
 * @param http undefined for a connection that is not HTTP
 * @param serverName of the connection's ClientHello; undefined: none was read
 */
export function authorizeClient(
  groups: readonly PolicyGroup[],
  client: Client,
  http: HttpAttributes | undefined,
  serverName?: string,
): Verdict {
  let verdict: Verdict = { allowed: true, reason: 'no-policy', audited: [] };
  for (const { namespace, policies, destination, named, others } of groups) {
    const seen = seenBy(namespace, http);
    let one = decide(policies, destination, client, seen, serverName);
    // Few requests match a policy in audit mode: without one, nothing is copied.
    let audited = one.audited.length > 0 ? [...verdict.audited, ...one.audited] : verdict.audited;
    for (const other of others) {
      if (!one.allowed) break;
      const also = decide(named, other, client, seen, serverName);
      if (also.audited.length > 0) audited = [...new Set([...audited, ...also.audited])];
      if (!also.allowed) one = also;
    }
    verdict = { ...(one.reason === 'no-policy' ? verdict : one), audited };
    if (!verdict.allowed) return verdict;
  }
  return verdict;
}

/**
 * The attributes that policies of a namespace may trust. The owner of the Service that the client dialed says which tokens are valid, and its
 * requests may go to endpoints of another namespace: there they have no token, because anybody could make up one for them.
 */
function seenBy(namespace: string, http: HttpAttributes | undefined): HttpAttributes | undefined {
  if (http?.claims === undefined || http.claimsNamespace === namespace) return http;
  // Attributes are computed on demand, so they are not copied.
  return Object.create(http, { claims: { value: undefined } }) as HttpAttributes;
}

const decide = (
  policies: PolicyGroup['policies'],
  { ip, port }: SocketAddress,
  { identity, address }: Client,
  http: HttpAttributes | undefined,
  serverName: string | undefined,
): Verdict =>
  authorize(policies, {
    identity,
    sourceIp: address.ip,
    destinationIp: ip,
    destinationPort: port,
    ...(http ? { http } : {}),
    ...(serverName === undefined ? {} : { serverName }),
  });
