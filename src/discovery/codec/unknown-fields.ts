/**
 * Finds fields that this version does not know; a newer control plane may send them. An unknown field may restrict what the known fields
 * allow, so whatever it concerns is closed and the problem is reported. Exception: all versions agree that fields with numbers from
 * `ignorableFrom` on only add information.
 *
 * The check reads the bytes and not the decoded message, because generated code stops without an error at some malformed bytes.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** Unknown fields with this number or a higher one may be ignored. */
export const ignorableFrom = 2_000;
const depthMax = 64;

/** Known fields of a message by number; for a field that is a message, a function that returns its shape. Generated (gen/shapes.ts). */
export interface Shape {
  readonly [field: number]: true | (() => Shape);
}

/**
 * Paths of the fields that are not in `shape`: `5.0/1.2/7` is field 7 in the third field 1 of the first field 5. Throws on malformed
 * bytes and on messages nested more than 64 deep. Pure.
 */
export function unknownFields(bytes: Uint8Array, shape: Shape, at = '', depth = 0): string[] {
  if (depth > depthMax) throw new Error(`messages nested more than ${depthMax} deep`);
  const reader = new BinaryReader(bytes);
  const seen = new Map<number, number>();
  const unknown = new Set<string>();
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    const index = seen.get(field) ?? 0;
    seen.set(field, index + 1);
    const known = shape[field];
    if (typeof known === 'function' && type === WireType.LengthDelimited) {
      for (const path of unknownFields(reader.bytes(), known(), `${at}${field}.${index}/`, depth + 1))
        unknown.add(path);
      continue;
    }
    reader.skip(type, field);
    // The decoder skips a message field with a wrong wire type, so such a field counts as unknown.
    if (known !== true && field < ignorableFrom) unknown.add(`${at}${field}`);
  }
  return [...unknown];
}
