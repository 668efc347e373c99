/** The age of objects: the older of two takes precedence. Pure. */
import { objectKey } from './object-key.js';
import type { Meta } from './metadata.js';
import type { MeshObject } from './objects.js';

/** When the object was created, in milliseconds since the epoch. 0 if it does not say, as in files: such an object is the oldest. */
export const createdMs = ({ metadata }: { readonly metadata: Meta }): number =>
  Date.parse(metadata.creationTimestamp ?? '') || 0;

/** Times of the API server are in UTC, so that they can be compared as text. Files have none: kind, namespace and name decide. */
const ageOf = (object: MeshObject): string =>
  `${object.metadata.creationTimestamp ?? ''} ${objectKey(object)}`;

/** Compares two objects for a sort: the oldest first, without ties. */
export const byAge = (a: MeshObject, b: MeshObject): number => (ageOf(a) < ageOf(b) ? -1 : 1);
