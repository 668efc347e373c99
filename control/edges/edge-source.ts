/** Where SMI's TrafficMetrics and other readers get edges: what this control plane and, on Kubernetes, its other replicas have kept. */
import type { Edge } from '../../src/model/edge.js';

export interface EdgeQuery {
  /** Edges from or to it; undefined: all namespaces. */
  readonly namespace?: string | undefined;
  /** Milliseconds since the epoch: edges that were seen after it. */
  readonly sinceMs: number;
}

export interface EdgeAnswer {
  readonly edges: readonly Edge[];
  /** Since when all that answered have observed. */
  readonly sinceMs: number;
  /** Replicas that did not answer. */
  readonly missing: readonly string[];
}

export interface EdgeSource {
  query(query: EdgeQuery): Promise<EdgeAnswer>;
}
