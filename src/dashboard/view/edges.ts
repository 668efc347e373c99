/** What the page says about an edge, and which edges and workloads a filter leaves. Pure. */
import type { EdgeState, MeshSnapshot, WorkloadState } from '../../model/mesh-snapshot.js';
import { namespaceOf, observedOnly } from '../../model/party-name.js';
import { connectionRate, requestRate, type Rates } from '../../telemetry/observed/rates.js';
import { hasText } from './text.js';

/** How an edge does, the worst that is true of it. */
export type EdgeHealth = 'denied' | 'partly-denied' | 'failing' | 'unsteady' | 'audited' | 'fine';

/** Below it an edge fails; below the other one it is worth a look. */
const failingBelow = 0.95;
const weakBelow = 0.99;

export function edgeHealth(edge: EdgeState): EdgeHealth {
  const passed = edge.connections + edge.requests;
  if (edge.refused > 0) return passed === 0 || edge.path === 'refused' ? 'denied' : 'partly-denied';
  const share = edge.successShare ?? (passed === 0 && edge.failures > 0 ? 0 : 1);
  if (share < failingBelow) return 'failing';
  if (share < weakBelow) return 'unsteady';
  return edge.audited > 0 ? 'audited' : 'fine';
}

const order: readonly EdgeHealth[] = ['denied', 'partly-denied', 'failing', 'unsteady', 'audited', 'fine'];

/** In words, beside the color. */
export const healthText: Readonly<Record<EdgeHealth, string>> = {
  denied: 'refused',
  'partly-denied': 'partly refused',
  failing: 'failing',
  unsteady: 'some failures',
  audited: 'would be refused',
  fine: 'ok',
};

export const securityText: Readonly<Record<EdgeState['security'], string>> = {
  'mutual-tls': 'mutual TLS',
  'same-node': 'same node',
  none: 'plain',
  unknown: 'not known',
};

/** Per second: requests where there are some, else connections. Undefined: not known. */
export const edgeRate = (edge: EdgeState): number | undefined =>
  edge.requests > 0 ? edge.requestsPerSecond : edge.connectionsPerSecond;

export interface Filter {
  readonly namespace: string;
  readonly text: string;
}

/** Edges from or to the namespace whose names contain the text; refused ones first, then those with most traffic. */
export function filteredEdges(edges: readonly EdgeState[], { namespace, text }: Filter): EdgeState[] {
  return edges
    .filter(
      (edge) =>
        (namespace === '' ||
          namespaceOf(edge.source) === namespace ||
          namespaceOf(edge.destination) === namespace) &&
        hasText([edge.source, edge.destination, edge.service, edge.path, ...edge.policies], text),
    )
    .map((edge) => ({ edge, rank: order.indexOf(edgeHealth(edge)) }))
    .sort(
      (a, b) =>
        a.rank - b.rank ||
        (edgeRate(b.edge) ?? 0) - (edgeRate(a.edge) ?? 0) ||
        (a.edge.source < b.edge.source ? -1 : a.edge.source > b.edge.source ? 1 : 0) ||
        (a.edge.id < b.edge.id ? -1 : 1),
    )
    .map(({ edge }) => edge);
}

/** Workloads of the filter, and the other ends of its edges. Ends that no workload has are added. */
export function filteredWorkloads(
  snapshot: MeshSnapshot,
  { namespace, text }: Filter,
  edges: readonly EdgeState[],
): WorkloadState[] {
  const known = new Map(snapshot.workloads.map((workload) => [workload.id, workload]));
  const shown = new Map<string, WorkloadState>();
  for (const workload of snapshot.workloads)
    if (
      (namespace === '' || workload.namespace === namespace) &&
      hasText([workload.id, workload.identity, ...workload.services], text)
    )
      shown.set(workload.id, workload);
  for (const edge of edges)
    for (const id of [edge.source, edge.destination])
      if (!shown.has(id)) shown.set(id, known.get(id) ?? observedOnly(id));
  return [...shown.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Namespaces that have something to show, sorted. */
export const namespacesOf = (snapshot: MeshSnapshot): string[] =>
  [
    ...new Set([
      ...snapshot.workloads.map(({ namespace }) => namespace),
      ...snapshot.edges.flatMap(({ source, destination }) => [namespaceOf(source), namespaceOf(destination)]),
    ]),
  ]
    .filter((namespace) => namespace !== '')
    .sort();

export interface Sums {
  /** Undefined: not known. */
  readonly requestsPerSecond: number | undefined;
  readonly connectionsPerSecond: number | undefined;
  readonly successShare: number | undefined;
  readonly refused: number;
  readonly audited: number;
  readonly failures: number;
  /** Edges whose connections nobody on the network can read, of those of which it is known. */
  readonly protectedEdges: number;
  readonly knownEdges: number;
  readonly kernelEdges: number;
}

/** Requests that were not refused, of which `successShare` is. */
const passedRequests = ({ requests, refused, successShare }: EdgeState): number =>
  successShare === undefined ? 0 : Math.max(0, requests - refused);

/** The rate of all edges: not known if that of one of them is not. */
function rateOf(edges: readonly EdgeState[], of: 'requestsPerSecond' | 'connectionsPerSecond'): Rates {
  let sum = 0;
  for (const { [of]: perSecond } of edges) {
    if (perSecond === undefined) return {};
    sum += perSecond;
  }
  return { [of]: sum };
}

export function sumsOf(edges: readonly EdgeState[]): Sums {
  const sum = (of: (edge: EdgeState) => number): number => edges.reduce((total, edge) => total + of(edge), 0);
  const total = {
    requests: sum((edge) => edge.requests),
    connections: sum((edge) => edge.connections),
    ...rateOf(edges, 'requestsPerSecond'),
    ...rateOf(edges, 'connectionsPerSecond'),
  };
  const passed = sum(passedRequests);
  const succeeded = sum((edge) => passedRequests(edge) * (edge.successShare ?? 0));
  const allowed = edges.filter((edge) => edge.security !== 'unknown' && edgeHealth(edge) !== 'denied');
  return {
    requestsPerSecond: requestRate(total),
    connectionsPerSecond: connectionRate(total),
    successShare: passed === 0 ? undefined : succeeded / passed,
    refused: sum((edge) => edge.refused),
    audited: sum((edge) => edge.audited),
    failures: sum((edge) => edge.failures),
    protectedEdges: allowed.filter((edge) => edge.security !== 'none').length,
    knownEdges: allowed.length,
    kernelEdges: edges.filter((edge) => edge.path === 'kernel').length,
  };
}
