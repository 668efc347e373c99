/** Sums of what was observed. Pure. */
import { addCounts, noCounts, type Edge, type EdgeCounts } from '../../model/edge.js';
import type { EdgeState, TrafficState } from '../../model/mesh-snapshot.js';
import { isRequestEdge, pathOf } from './distinct-edges.js';
import { latenciesOf } from './latencies.js';

const securities: Readonly<Record<string, EdgeState['security']>> = {
  hbone: 'mutual-tls',
  waypoint: 'mutual-tls',
  kernel: 'same-node',
  local: 'same-node',
  plain: 'none',
};

/** What protects the traffic of an edge. A waypoint's client without identity came without mutual TLS. */
export function securityOf(edge: Edge): EdgeState['security'] {
  const path = pathOf(edge);
  if (path === 'waypoint' && edge.source.identity === undefined) return 'none';
  return securities[path] ?? 'unknown';
}

export interface Traffic extends TrafficState {
  /** 0 to 1, of the traffic that was not between pods of one node; such traffic never leaves the kernel of the node. */
  readonly mutualTlsShare?: number;
}

/** A sum of edges that stand for traffic of their own (distinct-edges.ts). */
class TrafficSum {
  #counts: EdgeCounts = noCounts;
  #requestFailures = 0;
  #requestsRefused = 0;
  #mutual = 0;
  #unprotected = 0;

  add(edge: Edge): void {
    const { counts, reporter } = edge;
    this.#counts = addCounts(this.#counts, counts);
    const isRequest = isRequestEdge(edge);
    if (isRequest) {
      this.#requestFailures += counts.failures;
      this.#requestsRefused += Math.min(counts.refused, counts.requests);
    }
    // An agent counts the connections of its requests, too: in an edge of their own, or from Prometheus in the same.
    const weight = counts.connections + (isRequest && reporter !== 'waypoint' ? 0 : counts.requests);
    const security = securityOf(edge);
    if (security === 'mutual-tls') this.#mutual += weight;
    else if (security === 'none') this.#unprotected += weight;
  }

  get traffic(): Traffic {
    const { latencyCounts, ...counts } = this.#counts;
    const passed = counts.requests - this.#requestsRefused;
    const latencyMs = latenciesOf(latencyCounts);
    const protectable = this.#mutual + this.#unprotected;
    return {
      ...counts,
      ...(passed > 0 ? { successShare: Math.max(0, 1 - this.#requestFailures / passed) } : {}),
      ...(latencyMs ? { latencyMs } : {}),
      ...(protectable > 0 ? { mutualTlsShare: this.#mutual / protectable } : {}),
    };
  }
}

/** Adds up edges by a key, in the order in which the keys come. */
export function sumsBy<K extends string>(
  edges: Iterable<Edge>,
  keysOf: (edge: Edge) => Iterable<K>,
): Map<K, { readonly first: Edge; readonly sum: TrafficSum; readonly edges: Edge[] }> {
  const sums = new Map<K, { readonly first: Edge; readonly sum: TrafficSum; readonly edges: Edge[] }>();
  for (const edge of edges)
    for (const key of keysOf(edge)) {
      let found = sums.get(key);
      if (!found) sums.set(key, (found = { first: edge, sum: new TrafficSum(), edges: [] }));
      found.sum.add(edge);
      found.edges.push(edge);
    }
  return sums;
}
