import { namespaceOf } from '../../src/model/labels.js';
import type { MeshObject } from './objects.js';

/** Kind, namespace and name of an object: unique at any time. */
export type ObjectKey = string;
export const objectKey = (object: MeshObject): ObjectKey =>
  `${object.kind} ${namespaceOf(object)}/${object.metadata.name}`;
