/** Which objects of a change of the registry may have changed what is served, and who wrote them. Pure. */
import { isRecord } from '../../src/base/record.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { ChangeOrigin } from '../../src/model/change.js';
import { apiKindOf } from '../kinds/api.js';
import { kinds } from '../kinds/kinds.js';
import type { ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import type { Cause } from './change-log.js';

/** Status of these kinds decides what is served: addresses, readiness, and addresses of nodes. */
const hasServedStatus: ReadonlySet<string> = new Set<MeshObject['kind']>(['Pod', 'Node']);

/** The object without what the API server and controllers write at each update. */
function contentOf(object: MeshObject): string {
  const { resourceVersion: _version, generation: _generation, ...metadata } = object.metadata;
  const { status, ...rest } = object as MeshObject & { readonly status?: unknown };
  return JSON.stringify({ ...rest, metadata, ...(hasServedStatus.has(object.kind) ? { status } : {}) });
}

function operationOf(
  before: MeshObject | undefined,
  now: MeshObject | undefined,
): Cause['operation'] | undefined {
  if (!before) return now ? 'created' : undefined;
  if (!now) return 'deleted';
  return contentOf(before) === contentOf(now) ? undefined : 'updated';
}

/** @param before objects as they were; undefined: there was none */
export function causesOf(
  before: ReadonlyMap<ObjectKey, MeshObject | undefined>,
  changed: ReadonlyMap<ObjectKey, MeshObject | undefined>,
  originOf: (key: ObjectKey) => ChangeOrigin | undefined,
): Cause[] {
  return [...changed].flatMap(([key, now]): Cause[] => {
    const was = before.get(key);
    const operation = operationOf(was, now);
    const object = now ?? was;
    if (operation === undefined || !object) return [];
    const { kind, metadata } = object;
    return [
      {
        kind: apiKindOf(kind),
        namespace: kinds[kind].address.clusterWide === true ? '' : namespaceOf(object),
        name: metadata.name,
        operation,
        // The API server does not say who deleted an object.
        ...(operation === 'deleted' ? fileOf(originOf(key)) : originOf(key)),
      },
    ];
  });
}

const fileOf = (origin: ChangeOrigin | undefined): ChangeOrigin =>
  origin?.file === undefined ? {} : { file: origin.file };

const managerCharsMax = 128;
/** The last field manager that wrote the object, and the object's version. A manager that wrote only a status counts if there is no other. */
export function originOf(raw: unknown): ChangeOrigin {
  const metadata = isRecord(raw) && isRecord(raw['metadata']) ? raw['metadata'] : {};
  const fields: unknown = metadata['managedFields'];
  const managers = (Array.isArray(fields) ? (fields as unknown[]) : []).filter(isRecord);
  const latest = (list: readonly Readonly<Record<string, unknown>>[]): string | undefined => {
    const [last] = [...list].sort((a, b) => (String(a['time']) < String(b['time']) ? 1 : -1));
    const manager = last?.['manager'];
    return typeof manager === 'string' && manager !== '' ? manager.slice(0, managerCharsMax) : undefined;
  };
  const by = latest(managers.filter((one) => (one['subresource'] ?? '') === '')) ?? latest(managers);
  const version = metadata['resourceVersion'];
  return {
    ...(by === undefined ? {} : { by }),
    ...(typeof version === 'string' ? { version } : {}),
  };
}
