/** What the l4 suite compares: pods outside of the mesh, Weft with either relay, and other proxies. */
import { kinds } from '../mesh/variants.js';
import type { ProxyRole } from '../mesh/scene.js';
import type { NodeName, ScenePlan } from '../mesh/plan.js';
import { planOf } from '../mesh/variants.js';

export interface Path {
  readonly name: 'same-node' | 'cross-node';
  /** The pod that serves. */
  readonly server: 'near' | 'far';
}
export const paths: readonly Path[] = [
  { name: 'same-node', server: 'near' },
  { name: 'cross-node', server: 'far' },
];

export interface Variant {
  readonly name: string;
  /** The variant of the comparison (bench/mesh/variants.ts) whose pods are used. */
  readonly kind: string;
  readonly paths: readonly Path['name'][];
}
const both = ['same-node', 'cross-node'] as const;

export const direct: Variant = { name: 'direct', kind: 'none', paths: both };
/** Its pods ask for the splice. */
export const mesh: Variant = { name: 'mesh', kind: 'weft-spliced', paths: both };
export const again: Variant = { name: 'direct-again', kind: 'none', paths: both };

/** Beside direct, in the order of columns. */
export const others: readonly Variant[] = [
  mesh,
  { name: 'encrypted', kind: 'weft-encrypted', paths: ['same-node'] },
  { name: 'typescript', kind: 'weft-typescript', paths: ['cross-node'] },
  { name: 'encrypted-typescript', kind: 'weft-encrypted-typescript', paths: ['same-node'] },
  { name: 'ztunnel', kind: 'ztunnel', paths: both },
  { name: 'sidecar', kind: 'sidecar', paths: both },
];

interface Ends {
  readonly namespace: string;
  readonly proxies: readonly ProxyRole[];
  readonly nodes: readonly [NodeName, NodeName];
}

export function endsOf({ kind }: Variant): Ends {
  const {
    namespace,
    proxies,
    nodes = ['bench-a', 'bench-b'],
  } = kinds.find(({ name }) => name === kind) ?? {
    namespace: kind,
    proxies: [],
  };
  return { namespace, proxies, nodes };
}

export const scenePlanOf = (variants: readonly Variant[]): ScenePlan =>
  planOf(new Set(variants.map(({ kind }) => kind)));
