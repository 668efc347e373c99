/** Where the status of an object is in the API server: its own place, and no other. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import type { MeshObject } from '../objects/objects.js';
import { apiPathOf, apiVersionOf } from '../kinds/api.js';
import { kinds } from '../kinds/kinds.js';

/** Their status others write. */
const others: ReadonlySet<MeshObject['kind']> = new Set(['Namespace', 'Node', 'EndpointSlice']);

/** A name or a namespace that the API server would not have taken leads nowhere else: it is one segment of the path. */
const segment = encodeURIComponent;

/** Undefined of kinds whose status others write. A route's is that of the version in which it was read. */
export function statusPathOf(object: MeshObject): string | undefined {
  if (others.has(object.kind)) return undefined;
  const { plural, clusterWide } = kinds[object.kind].address;
  const place = clusterWide ? '' : `namespaces/${segment(namespaceOf(object))}/`;
  return `${apiPathOf(apiVersionOf(object))}/${place}${plural}/${segment(object.metadata.name)}/status`;
}
