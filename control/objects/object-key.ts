import { namespaceOf } from '../../src/model/labels.js';
import type { MeshObject } from './objects.js';

/** Kind, namespace and name of an object: unique at any time. */
export type ObjectKey = string;
export const objectKey = (object: MeshObject): ObjectKey =>
  `${object.kind} ${namespaceOf(object)}/${object.metadata.name}`;

/** The key as users know it, by kubectl's name of a kind that two groups have; objects of the cluster have no namespace. */
export const keyText = (key: ObjectKey): string =>
  key
    .replace(/^IstioGateway /, 'Gateway.networking.istio.io ')
    .replace(/^(Namespace|Node|GatewayClass|MeshSettings) [^/]*\//, '$1 ');
