/** Whether a client may do what it asks of an endpoint: every policy that has a word in it, wherever the request came from. */
import { authorize, type HttpFacts, type Verdict } from '../policy/authorize.js';
import type { Client } from './client.js';
import type { Endpoint, WaypointState } from './state.js';

/**
 * The policies of the endpoint's workload, and those of each Service that stands before its port: by a pod's address, another Service
 * or another namespace's route a request comes to the same pod. Each group has to allow it.
 */
export function judge(
  state: WaypointState,
  client: Client,
  endpoint: Endpoint,
  http: HttpFacts | undefined,
): Verdict {
  let verdict: Verdict = { allowed: true, reason: 'no-policy', audited: [] };
  for (const { policies, port } of state.policyGroups(endpoint)) {
    const one = authorize(policies, {
      identity: client.identity,
      sourceIp: client.address.ip,
      destinationIp: endpoint.target.ip,
      destinationPort: port,
      ...(http ? { http } : {}),
    });
    const audited = [...verdict.audited, ...one.audited];
    verdict = { ...(one.reason === 'no-policy' ? verdict : one), audited };
    if (!verdict.allowed) return verdict;
  }
  return verdict;
}
