/** The resources that nodes and waypoints are sent, and changes of them. */
import type { NodePod, UncapturedPod } from '../../src/model/node-pod.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Route } from '../../src/model/route.js';
import type { Service } from '../../src/model/service.js';
import type { Workload } from '../../src/model/workload.js';
import type { CompiledPod } from './pod.js';

/** One resource. Its name is unique within its kind (and node). */
export type Told =
  | { readonly kind: 'workload'; readonly value: Workload }
  | { readonly kind: 'service'; readonly value: Service }
  | { readonly kind: 'policy'; readonly value: AuthorizationPolicy }
  | { readonly kind: 'route'; readonly value: Route }
  /** Sent to this node alone, as the next. */
  | { readonly kind: 'nodePod'; readonly node: string; readonly value: NodePod }
  | { readonly kind: 'uncaptured'; readonly node: string; readonly value: UncapturedPod }
  | { readonly kind: 'namespace'; readonly value: string }
  /** The version of what certificates rest on. */
  | { readonly kind: 'trust'; readonly value: string };

export interface Changes {
  /** Resources updated: compiled again, and perhaps equal to what they were. */
  readonly told: readonly Told[];
  /** Resources removed. */
  readonly withdrawn: readonly Told[];
}

export function nameOf(told: Told): string {
  switch (told.kind) {
    case 'service':
    case 'policy':
    case 'route':
      return told.value.key;
    case 'namespace':
      return told.value;
    case 'trust':
      return 'trust';
    default:
      return told.value.uid;
  }
}
export const idOf = (told: Told): string => `${told.kind} ${'node' in told ? told.node : ''} ${nameOf(told)}`;

/**
 * The resources of a pod.
 * @param isScoped whether its address counts for clients of its own namespace alone
 */
export function toldOf({ node, workload, policy, held, uncaptured }: CompiledPod, isScoped: boolean): Told[] {
  const scope = isScoped ? ({ scope: 'namespace' } as const) : {};
  return [
    ...(workload ? [{ kind: 'workload', value: { ...workload, ...scope } } as const] : []),
    ...(policy ? [{ kind: 'policy', value: policy } as const] : []),
    ...(held ? [{ kind: 'nodePod', node, value: held } as const] : []),
    ...(uncaptured ? [{ kind: 'uncaptured', node, value: uncaptured } as const] : []),
  ];
}
