/** Who calls whom and how well, as the page and `weft edges` show it. Pure. */
import type { Edge } from '../../model/edge.js';
import type { EdgeState, RouteState } from '../../model/mesh-snapshot.js';
import { destinationOf, distinctEdges, nameOf, pathOf } from './distinct-edges.js';
import { securityOf, sumsBy } from './traffic.js';

/** Programs report every 10 s: a shorter time says nothing about a rate. */
export const rateMsMin = 10_000;

const routeKey = ({ method, pathTemplate }: Edge): string => `${method} ${pathTemplate}`;

function routesOf(edges: readonly Edge[]): RouteState[] {
  const sums = sumsBy(edges, (edge) => (edge.method === '' ? [] : [routeKey(edge)]));
  const routes = [...sums.values()].map(({ first: { method, pathTemplate }, sum }) => {
    const { requests, failures, latencyMs } = sum.traffic;
    return { method, pathTemplate, requests, failures, ...(latencyMs ? { latencyMs } : {}) };
  });
  return routes.sort((a, b) => b.requests - a.requests || (a.pathTemplate < b.pathTemplate ? -1 : 1));
}

/** The id of the state that an edge belongs to. */
const idOf = (edge: Edge): string =>
  JSON.stringify([nameOf(edge.source), destinationOf(edge), edge.port, pathOf(edge), securityOf(edge)]);

const namesOf = (edges: readonly Edge[], of: 'service' | 'policy'): string[] =>
  [...new Set(edges.map((edge) => edge[of]).filter((name) => name !== ''))].sort();

/**
 * One state for each pair of workloads, port and path, in the order of their ids. What several programs reported of the same traffic counts once.
 * @param fromMs since when everything that the edges count was observed
 */
export function edgeStates(edges: readonly Edge[], fromMs: number, nowMs: number): EdgeState[] {
  const seconds = Math.max(nowMs - fromMs, rateMsMin) / 1_000;
  const sums = sumsBy(distinctEdges(edges), (edge) => [idOf(edge)]);
  const states = [...sums].map(([id, { first, sum, edges: all }]): EdgeState => {
    const traffic = sum.traffic;
    const [service] = namesOf(all, 'service');
    return {
      id,
      source: nameOf(first.source),
      destination: destinationOf(first),
      ...(service === undefined ? {} : { service }),
      port: first.port,
      path: pathOf(first),
      security: securityOf(first),
      connections: traffic.connections,
      requests: traffic.requests,
      refused: traffic.refused,
      audited: traffic.audited,
      failures: traffic.failures,
      bytesSent: traffic.bytesSent,
      bytesReceived: traffic.bytesReceived,
      requestsPerSecond: traffic.requests / seconds,
      connectionsPerSecond: traffic.connections / seconds,
      ...(traffic.successShare === undefined ? {} : { successShare: traffic.successShare }),
      ...(traffic.latencyMs ? { latencyMs: traffic.latencyMs } : {}),
      policies: namesOf(all, 'policy'),
      routes: routesOf(all),
      lastSeenMs: traffic.lastSeenMs,
    };
  });
  return states.sort((a, b) => (a.id < b.id ? -1 : 1));
}
