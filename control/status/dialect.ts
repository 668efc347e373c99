/** The status of objects of other meshes' APIs: whether they are in force, and what of them is not. Pure. */
import { remarksText } from '../dialects/remarks.js';
import type { MeshObject } from '../objects/objects.js';
import { acceptedUpdate, invalidBecause } from './accepted.js';
import type { ConditionUpdate } from './conditions.js';
import type { OwnObject, StatusLookup, StatusUpdate } from './status.js';

/** @param enforced the second condition of an object that a waypoint has to enforce */
export const dialectUpdate = (
  object: OwnObject,
  { mesh, timestamp }: StatusLookup,
  enforced: ConditionUpdate | undefined,
  audit?: ConditionUpdate,
): StatusUpdate | undefined =>
  acceptedUpdate(
    object,
    invalidBecause(object) ?? mesh.problemOf(object as MeshObject),
    timestamp,
    enforced,
    remarksText(mesh.remarksOf(object as MeshObject)),
    audit,
  );

export const dialectStatus = (object: OwnObject, lookup: StatusLookup): StatusUpdate | undefined =>
  dialectUpdate(object, lookup, undefined);
