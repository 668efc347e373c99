/** Objects that a registry of files defines twice. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { keyText, objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import type { FileError, Parsed } from './parse.js';

/**
 * Warnings for objects that are defined twice with different content, at the last definition, which is in force.
 * @param files in the order in which they are read
 */
export function duplicateObjects(
  files: Iterable<readonly [file: string, lines: Parsed['lines']]>,
): ReadonlyMap<ObjectKey, FileError> {
  const last = new Map<ObjectKey, { readonly object: MeshObject; readonly place: string }>();
  const twice = new Map<ObjectKey, FileError>();
  for (const [file, lines] of files)
    for (const [object, line] of lines) {
      const key = objectKey(object);
      const other = last.get(key);
      last.set(key, { object, place: `${file}:${line}` });
      if (!other || isDeepStrictEqual(other.object, object)) continue;
      const message = `${keyText(key)} is also defined in ${other.place} with other content: this definition is in force`;
      twice.set(key, { file, line, field: '', message, isWarning: true });
    }
  return twice;
}
