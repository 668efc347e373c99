/** Objects that stand in two places of a registry of files. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import type { FileError, Parsed } from './parse.js';

/** Those that are said twice, and differently: of each the last place, which counts. `files`: in the order in which they are read. */
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
      const message = `${key} stands in ${other.place} too, with other content: this one is in force`;
      twice.set(key, { file, line, field: '', message, isWarning: true });
    }
  return twice;
}
