/**
 * How resources are read that a newer control plane may have written. What cannot be understood closes what it concerns and says so;
 * the rest stays as it was.
 *
 * A field that this version does not know counts as not understood, since it may restrict what the known fields say. Fields from
 * `ignorableFrom` on are the exception: they only add information, by agreement of all versions.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { errorText, type Decoded } from '../base/errors.js';
import type { Subscription } from './client.js';
import type { TypeUrl } from './types.js';

/** What a resource says, as far as this version understands it. */
export interface ReadResult<T> {
  /** To be applied: what is not understood is closed in it. Undefined: what was known before stays. */
  readonly value: T | undefined;
  /** What is not understood. */
  readonly problems: readonly string[];
}

/** Field numbers from here on may be passed over. */
export const ignorableFrom = 2_000;
const depthMax = 64;

/** Fields of a message: of those that are messages themselves, theirs. */
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

/** For resources of which one that is not understood leaves what was known before. */
export function keepOr<T>(
  decode: (bytes: Uint8Array) => Decoded<T>,
): (name: string, bytes: Uint8Array) => ReadResult<T> {
  return (_name, bytes) => {
    const decoded = decode(bytes);
    return decoded.ok
      ? { value: decoded.value, problems: [] }
      : { value: undefined, problems: decoded.errors };
  };
}

/** The value alone, or why there is none that is understood as a whole. */
export function strict<T>({ value, problems }: ReadResult<T>): Decoded<T> {
  return value !== undefined && problems.length === 0 ? { ok: true, value } : { ok: false, errors: problems };
}

/** `read` that fails is a bug of it, and costs that one resource. */
export function subscribe<T>(
  typeUrl: TypeUrl,
  read: (name: string, bytes: Uint8Array) => ReadResult<T>,
  apply: (value: T) => void,
  removed: Subscription['removed'],
): Subscription {
  return {
    typeUrl,
    removed,
    decode: (name, bytes) => {
      let reading: ReadResult<T>;
      try {
        reading = read(name, bytes);
      } catch (error) {
        reading = { value: undefined, problems: [errorText(error)] };
      }
      const { value, problems } = reading;
      if (value === undefined) return { ok: false, errors: problems };
      return problems.length === 0
        ? { ok: true, value: () => apply(value) }
        : { ok: false, errors: problems, instead: () => apply(value) };
    },
  };
}
