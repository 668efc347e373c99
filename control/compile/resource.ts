/** The resources that nodes and waypoints are sent, and their changes. */
import type { NodePod, UncapturedPod } from '../../src/model/node-pod.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Route } from '../../src/model/route.js';
import { servicePolicyName, type ServicePolicy } from '../../src/model/service-policy.js';
import type { Service } from '../../src/model/service.js';
import type { Workload } from '../../src/model/workload.js';
import type { WaypointName } from './waypoints.js';

/** One resource. Its name is unique within its kind (and within its node, if it has one). */
export type CompiledResource =
  | { readonly kind: 'workload'; readonly value: Workload }
  | { readonly kind: 'service'; readonly value: Service }
  /** `guards`: the policy refuses what evades another restriction, so that audit mode does not weaken it alone. */
  | { readonly kind: 'policy'; readonly value: AuthorizationPolicy; readonly guards?: true }
  | { readonly kind: 'route'; readonly value: Route }
  /** Sent only to the waypoint that serves the Service. `node`: the waypoint's name as a caller (waypoints.ts). */
  | { readonly kind: 'servicePolicy'; readonly node: string; readonly value: ServicePolicy }
  /** `nodePod` and `uncaptured` are sent only to their node. */
  | { readonly kind: 'nodePod'; readonly node: string; readonly value: NodePod }
  | { readonly kind: 'uncaptured'; readonly node: string; readonly value: UncapturedPod }
  /** A Gateway of Weft's class. Sent only to the rate limit service, which `node` names. */
  | { readonly kind: 'waypoint'; readonly node: string; readonly value: WaypointName }
  | { readonly kind: 'namespace'; readonly value: string }
  /** The version of the trusted roots. */
  | { readonly kind: 'trust'; readonly value: string };

export interface ResourceChanges {
  /** Resources updated: compiled again, and perhaps equal to what they were. */
  readonly updated: readonly CompiledResource[];
  /** Resources removed. */
  readonly removed: readonly CompiledResource[];
}

export function resourceName(resource: CompiledResource): string {
  switch (resource.kind) {
    case 'service':
    case 'policy':
    case 'route':
      return resource.value.key;
    case 'servicePolicy':
      return servicePolicyName(resource.value);
    case 'waypoint':
      return `${resource.value.namespace}/${resource.value.name}`;
    case 'namespace':
      return resource.value;
    case 'trust':
      return 'trust';
    default:
      return resource.value.uid;
  }
}
export const resourceId = (resource: CompiledResource): string =>
  `${resource.kind} ${'node' in resource ? resource.node : ''} ${resourceName(resource)}`;
