/** Where SMI's TrafficMetrics and other readers get edges: what this control plane and, on Kubernetes, its other replicas have kept. */
import type { EdgeAnswer, EdgeQuery } from '../../src/model/edge.js';

export interface EdgeSource {
  /** Never rejects: replicas that cannot be asked are in `missing`. */
  query(query: EdgeQuery): Promise<EdgeAnswer>;
}
