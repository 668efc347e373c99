/** Metadata and conditions of Kubernetes objects, with the fields that Weft reads. */
import type { Labels } from '../../src/model/labels.js';

export interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly generation?: number;
  /** Kept for kinds whose status other controllers write, too: a status write states the version that it was computed from. */
  readonly resourceVersion?: string;
  /** The older of two objects takes precedence: among claims to one address or host name, and among routes. */
  readonly creationTimestamp?: string;
  /** Set once the object is being deleted. */
  readonly deletionTimestamp?: string;
  readonly labels?: Labels;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Condition of Weft's own kinds: whether the object is in force. */
export const acceptedType = 'Accepted';
/** Condition of objects that only a waypoint can enforce: whether one does. */
export { enforcedType } from '../../src/model/condition-types.js';
/** Condition of a policy, or a part of it, that records what it would refuse: absent if it is enforced. */
export const auditType = 'weft.dev/AuditMode';
/** Condition of a policy that refers to other objects: whether they exist. */
export const resolvedType = 'ResolvedRefs';
/** Condition of a Service: whether the waypoint that its labels name serves it. */
export const waypointBoundType = 'weft.dev/WaypointBound';
export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly observedGeneration?: number;
  readonly lastTransitionTime?: string;
  readonly reason?: string;
  readonly message?: string;
}

/** Condition of a pod: whether it is enrolled. The control plane writes it from the reports of the node's agent. */
export const capturedCondition = 'weft.dev/captured';
/** Condition of a Namespace: whether its first enrollment is over (compile/first-enrollment.ts). */
export { enrolledCondition } from '../../src/model/condition-types.js';
