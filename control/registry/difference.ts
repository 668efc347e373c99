/** Computes changes for a source that lists all objects each time. */
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import type { Registry } from './registry.js';

/** The changes after which the registry has exactly these objects. Of objects with the same key the last one counts. */
export function changesFrom(
  registry: Pick<Registry, 'object' | 'keys'>,
  objects: readonly MeshObject[],
): Map<ObjectKey, MeshObject | undefined> {
  const changed = new Map<ObjectKey, MeshObject | undefined>();
  const now = new Set<ObjectKey>();
  for (const object of objects) {
    const key = objectKey(object);
    now.add(key);
    if (JSON.stringify(registry.object(key)) !== JSON.stringify(object)) changed.set(key, object);
    else changed.delete(key);
  }
  for (const key of registry.keys()) if (!now.has(key)) changed.set(key, undefined);
  return changed;
}
