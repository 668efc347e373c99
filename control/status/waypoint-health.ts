/** What runs for a Gateway, as its status reports it. */
import type { Condition } from '../objects/objects.js';

/** Why the objects of a Gateway are not as it asks. Reasons are the Gateway API's. */
export interface WaypointProblem {
  readonly reason: 'Invalid' | 'InvalidParameters' | 'Pending';
  readonly message: string;
}
/** State of what runs for a Gateway: its Deployment, if there is one, and why it could not be made as asked. */
export interface WaypointHealth {
  readonly problem?: WaypointProblem;
  readonly replicas?: { readonly wanted: number; readonly available: number };
  /** The Deployment's. */
  readonly conditions?: readonly Condition[];
}
