/** The status of objects of other meshes' APIs: whether they are in force, and what of them is not. Pure. */
import type { MeshObject } from '../objects/objects.js';
import { acceptedUpdate, invalidBecause } from './accepted.js';
import type { OwnObject, StatusLookup, StatusUpdate } from './status.js';

export const dialectStatus = (
  object: OwnObject,
  { mesh, timestamp }: StatusLookup,
): StatusUpdate | undefined =>
  acceptedUpdate(
    object,
    invalidBecause(object) ?? mesh.problemOf(object as MeshObject),
    timestamp,
    undefined,
    mesh.remarkOf(object as MeshObject),
  );
