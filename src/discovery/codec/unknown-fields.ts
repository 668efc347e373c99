/**
 * Fields that this version does not know, as a newer control plane may send them. Such a field counts as not understood, since it may
 * restrict what the known fields say: whatever it concerns is closed, and the problem is reported. Fields from `ignorableFrom` on are the
 * exception: they only add information, by agreement of all versions.
 *
 * The bytes are read, not the decoded message: generated code stops without an error at some malformed bytes.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** Field numbers from here on may be passed over. */
export const ignorableFrom = 2_000;
const depthMax = 64;

/** Fields of a message by number: of those that are messages themselves, theirs. Generated from the .proto files (gen/shapes.ts). */
export interface Shape {
  readonly [field: number]: true | (() => Shape);
}

/**
 * Paths of the fields that `shape` does not have: `5.0/1.2/7` is field 7 in the third field 1 of the first field 5. Errors: of
 * malformed bytes. Pure.
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
    // A message that comes as something else is passed over by the decoder.
    if (known !== true && field < ignorableFrom) unknown.add(`${at}${field}`);
  }
  return [...unknown];
}
