/** Metadata and conditions of Kubernetes objects, as far as Weft reads them. */
import type { Labels } from '../../src/model/labels.js';

export interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly generation?: number;
  /** Of kinds whose status others write too: what was read before it is written. */
  readonly resourceVersion?: string;
  /** Of two that claim one thing, and of two routes, the older one comes first. */
  readonly creationTimestamp?: string;
  /** Set once the object is being deleted. */
  readonly deletionTimestamp?: string;
  readonly labels?: Labels;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Of Weft's own kinds: whether an object is in force. */
export const acceptedType = 'Accepted';
/** Of what only a waypoint carries out: whether one does. */
export { enforcedType } from '../../src/model/condition-types.js';
/** Of a Service: whether the waypoint that its labels name serves it. */
export const waypointBoundType = 'weft.dev/WaypointBound';
export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly observedGeneration?: number;
  readonly lastTransitionTime?: string;
  readonly reason?: string;
  readonly message?: string;
}

/** Of a pod: whether it is held in the mesh; the control plane writes it, by what the node's agent says. */
export const capturedCondition = 'weft.dev/captured';
/** Of a Namespace: whether its first minute in the mesh is over (first-enrollment.ts). */
export { enrolledCondition } from '../../src/model/condition-types.js';
