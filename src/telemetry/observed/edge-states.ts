/** Who calls whom and how well, as the page and `weft edges` show it. Pure. */
import { policyNames, type Edge } from '../../model/edge.js';
import type { EdgeState, RouteState } from '../../model/mesh-snapshot.js';
import { destinationOf, nameOf } from '../../model/party-name.js';
import { distinctEdges, pathOf } from './distinct-edges.js';
import { ratesOf } from './rates.js';
import { securityOf, sumsBy } from './traffic.js';

const routeKey = ({ method, pathTemplate }: Edge): string => `${method} ${pathTemplate}`;

function routesOf(edges: readonly Edge[]): RouteState[] {
  const sums = sumsBy(edges, (edge) => (edge.method === '' ? [] : [routeKey(edge)]));
  const routes = [...sums.values()].map(({ first: { method, pathTemplate }, sum }) => {
    const { requests, failures, latencyMs } = sum.traffic;
    return { method, pathTemplate, requests, failures, ...(latencyMs ? { latencyMs } : {}) };
  });
  const nameOfRoute = ({ method, pathTemplate }: RouteState): string => `${pathTemplate} ${method}`;
  return routes.sort((a, b) => b.requests - a.requests || (nameOfRoute(a) < nameOfRoute(b) ? -1 : 1));
}

/** The id of the state that an edge belongs to. */
export const edgeStateId = (edge: Edge): string =>
  JSON.stringify([nameOf(edge.source), destinationOf(edge), edge.port, pathOf(edge), securityOf(edge)]);

/** The first of the Services in the order of their names: any order of edges has the same. */
const serviceOf = (edges: readonly Edge[]): string | undefined =>
  edges
    .map(({ service }) => service)
    .filter((name) => name !== '')
    .sort()[0];

const policiesOf = (edges: readonly Edge[]): string[] =>
  [...new Set(edges.flatMap(({ policy }) => policyNames(policy)))].sort();

/**
 * One state for each pair of workloads, port and path, in the order of their ids. What several programs reported of the same traffic counts once.
 * @param fromMs since when everything that the edges count was observed
 * @param only whether an edge is shown
 */
export function edgeStates(
  edges: readonly Edge[],
  fromMs: number,
  nowMs: number,
  only: (edge: Edge) => boolean = () => true,
): EdgeState[] {
  const sums = sumsBy(distinctEdges(edges).filter(only), (edge) => [edgeStateId(edge)]);
  const states = [...sums].map(([id, { first, sum, edges: all }]): EdgeState => {
    const { mutualTlsShare: _share, ...traffic } = sum.traffic;
    const service = serviceOf(all);
    return {
      id,
      source: nameOf(first.source),
      destination: destinationOf(first),
      ...(service === undefined ? {} : { service }),
      port: first.port,
      path: pathOf(first),
      security: securityOf(first),
      ...traffic,
      ...ratesOf(traffic, { fromMs, nowMs }),
      policies: policiesOf(all),
      routes: routesOf(all),
    };
  });
  return states.sort((a, b) => (a.id < b.id ? -1 : 1));
}
