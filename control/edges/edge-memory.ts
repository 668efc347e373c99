/** Who called whom, as programs have reported it: what is kept, and the reading of it over all replicas. */
import type { EdgeAnswer, EdgeQuery } from '../../src/model/edge.js';
import type { Registry } from '../registry/registry.js';
import { EdgeCollector, type RefusedEdge } from './edge-collector.js';
import type { EdgeSource } from './edge-source.js';
import { EdgeStore } from './edge-store.js';
import type { EdgeRegistry } from './may-report.js';
import { peersOf, type PeerSettings } from './peers.js';
import { ReplicatedEdges } from './replicas.js';

export interface EdgeMemoryParts {
  readonly registry: EdgeRegistry & Pick<Registry, 'indexes'>;
  /** Of a control plane on Kubernetes. */
  readonly replicas?: PeerSettings;
  readonly onRefused: (why: RefusedEdge, edges: number) => void;
  readonly onLimit: (limit: string) => void;
}

export class EdgeMemory implements EdgeSource {
  readonly store: EdgeStore;
  readonly collector: EdgeCollector;
  readonly #source: EdgeSource;

  constructor({ registry, replicas, onRefused, onLimit }: EdgeMemoryParts) {
    this.store = new EdgeStore(() => onLimit('control-edges'));
    this.collector = new EdgeCollector({ store: this.store, registry, onRefused });
    const own = (query: EdgeQuery): EdgeAnswer => this.store.query(query);
    this.#source = new ReplicatedEdges({ own, ...peersOf(registry, replicas) });
  }

  query(query: EdgeQuery): Promise<EdgeAnswer> {
    return this.#source.query(query);
  }
}
