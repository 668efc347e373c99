/** Turns a status update into a write to the status subresource of its object, and of no other object. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import type { MeshObject } from '../objects/objects.js';
import type { Write } from '../kubernetes/apply-queue.js';
import { apiKindOf, apiPathOf, apiVersionOf } from '../kinds/api.js';
import { kinds } from '../kinds/kinds.js';
import type { StatusUpdate } from './status.js';

/** Kinds whose status other controllers write. The condition of a Namespace is first-enrollment.ts's. */
const writtenByOthers: ReadonlySet<MeshObject['kind']> = new Set([
  'Namespace',
  'Node',
  'EndpointSlice',
  // It has no status.
  'ConfigMap',
]);

/** Encodes a name as one path segment: a name must not address another object. */
const segment = encodeURIComponent;

/** Path of the status subresource. Undefined for kinds whose status other controllers write. A route's path has the API version it was read in. */
export function statusPathOf(object: MeshObject): string | undefined {
  if (writtenByOthers.has(object.kind)) return undefined;
  const { plural, clusterWide } = kinds[object.kind].address;
  const scope = clusterWide ? '' : `namespaces/${segment(namespaceOf(object))}/`;
  return `${apiPathOf(apiVersionOf(object))}/${scope}${plural}/${segment(object.metadata.name)}/status`;
}

/** Undefined if there is no update, or other controllers write the kind's status. */
export function statusWrite(object: MeshObject, update: StatusUpdate | undefined): Write | undefined {
  const path = statusPathOf(object);
  if (!update || path === undefined) return undefined;
  const { status, boundTo = [] } = update;
  const { clusterWide } = kinds[object.kind].address;
  const bound = boundTo.flatMap((field) => {
    const value = object.metadata[field];
    return value === undefined ? [] : [[field, value] as const];
  });
  return {
    path,
    body: {
      apiVersion: apiVersionOf(object),
      kind: apiKindOf(object.kind),
      metadata: {
        name: object.metadata.name,
        ...(clusterWide ? {} : { namespace: namespaceOf(object) }),
        ...Object.fromEntries(bound),
      },
      status,
    },
  };
}
