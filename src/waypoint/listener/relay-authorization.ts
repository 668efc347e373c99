/** Authorizes connections of protocols other than HTTP. */
import { denialReason, type Verdict } from '../../policy/authorize.js';
import { authorizeClient } from '../authorization/authorize.js';
import { isAnyDemanded } from '../authorization/demanded.js';
import type { PolicyGroup } from '../authorization/endpoint-policies.js';
import type { ServicePort } from '../authorization/reachable.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { WaypointState } from '../state/waypoint-state.js';
import type { RelayOutcome } from '../worker/context.js';
import type { ClientConnection } from './client-connection.js';
import type { Client } from './client.js';
import { notServed, servicePortOf, unknownService, type Destination } from './destination.js';

/** What a connection is sent to. */
interface RelayTarget {
  readonly endpoint: Endpoint;
  readonly sent: ServicePort | undefined;
}

const none: readonly string[] = [];
const denied = (why: string, { policy, rule }: Partial<Verdict> = {}): RelayOutcome => ({
  refusal: { why, code: 'WEFT_DENIED', policy, rule },
  audited: none,
});

/**
 * Evaluates the policies of the dialed Service, of the Service that the connection is sent to, and of the endpoint.
 * @param serverName of the connection's ClientHello; undefined: none was read
 */
export function authorizeRelay(
  connection: ClientConnection,
  target: RelayTarget,
  serverName: string | undefined,
): RelayOutcome {
  const { context, client, destination } = connection;
  const obstacle = relayObstacle(context.state, client, destination, target);
  if (obstacle !== undefined) return denied(obstacle);
  let audited = none;
  for (const groups of groupsOf(connection, target)) {
    const verdict = authorizeClient(groups, client, undefined, serverName);
    if (!verdict.allowed) return denied(denialReason(verdict), verdict);
    if (verdict.audited.length > 0) audited = [...new Set([...audited, ...verdict.audited])];
  }
  return { audited };
}

/** What forbids the connection whatever policies allow; undefined: nothing does. */
export function relayObstacle(
  state: WaypointState,
  client: Client,
  destination: Destination,
  { endpoint, sent }: RelayTarget,
): string | undefined {
  const lost = notServed(state, destination) ?? unknownService(state, sent);
  if (lost !== undefined) return lost;
  return isAnyDemanded(state, client, destination, sent, endpoint)
    ? 'a policy of the Service demands a decision about each request, and the connection is not HTTP'
    : undefined;
}

/** Whether policies of the connection compare the server name, so that its ClientHello has to be read. */
export const comparesServerNames = (connection: ClientConnection, target: RelayTarget): boolean =>
  groupsOf(connection, target).some((groups) => groups.some((one) => one.comparesServerNames));

/** The policies of the dialed Service, and those at the endpoint. */
function groupsOf(
  { context: { state }, destination }: ClientConnection,
  { endpoint, sent }: RelayTarget,
): readonly (readonly PolicyGroup[])[] {
  const asked = servicePortOf(destination);
  const { policies } = state;
  return [asked ? policies.ofService(asked, destination.dialed.ip) : [], policies.ofEndpoint(endpoint, sent)];
}
