/** For a source that tells the whole each time. */
import type { Compiler } from './compile.js';
import { objectKey, type ObjectKey } from '../registry/indexes.js';
import type { MeshObject } from '../objects/objects.js';

/** What differs from the whole that is told now. */
export function differenceFrom(
  compiler: Compiler,
  objects: readonly MeshObject[],
): Map<ObjectKey, MeshObject | undefined> {
  const changed = new Map<ObjectKey, MeshObject | undefined>();
  const now = new Set<ObjectKey>();
  for (const object of objects) {
    const key = objectKey(object);
    now.add(key);
    if (JSON.stringify(compiler.object(key)) !== JSON.stringify(object)) changed.set(key, object);
    else changed.delete(key);
  }
  for (const key of compiler.keys()) if (!now.has(key)) changed.set(key, undefined);
  return changed;
}
