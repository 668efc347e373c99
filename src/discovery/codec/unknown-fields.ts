/**
 * Finds fields that a reader does not know; a newer control plane may send them. An unknown field may restrict what the known fields
 * allow, so whatever it concerns is closed and the problem is reported. Exception: all versions agree that fields with numbers from
 * `ignorableFrom` on only add information.
 *
 * The check reads the bytes and not the decoded message, because generated code stops without an error at some malformed bytes.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** Unknown fields with this number or a higher one may be ignored. */
export const ignorableFrom = 2_000;
const depthMax = 64;
const valueCharsMax = 64;

/** Known fields of a message by number. Generated (gen/shapes.ts). */
export interface Shape {
  readonly name: string;
  /** A field's name. Second: the shape of a field that is a message, or `values` for a string of a fixed set (a name that ends in `kind`). */
  readonly fields: Readonly<Record<number, readonly [name: string, of?: (() => Shape) | 'values']>>;
}

export interface UnknownField {
  /** `5.0/1.2/7` is field 7 in the third field 1 of the first field 5. */
  readonly path: string;
  /** `RouteFilter.cors`, `RouteMatch.path_kind=glob`, or `RouteFilter.50` for a field without a known name. */
  readonly feature: string;
}

/** A problem as text. */
export const unknownText = ({ path, feature }: UnknownField): string =>
  `${feature.slice(0, feature.indexOf('.'))}: field ${path} is not known${/\.\d+$/.test(feature) ? '' : ` (${feature})`}`;

/**
 * Fields that are not in `shape`, or not in the features of an older reader. Throws on malformed bytes and on messages nested more than 64
 * deep. Pure.
 * @param features what the reader knows, as `<Message>.<field>` and `<Message>.<field>=<value>` (capabilities.ts); undefined: all of `shape`
 */
export function unknownFields(
  bytes: Uint8Array,
  shape: Shape,
  features?: ReadonlySet<string>,
  at = '',
  depth = 0,
): UnknownField[] {
  if (depth > depthMax) throw new Error(`messages nested more than ${depthMax} deep`);
  const reader = new BinaryReader(bytes);
  const seen = new Map<number, number>();
  const unknown = new Map<string, UnknownField>();
  const add = (one: UnknownField): void => void unknown.set(one.path, one);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    const index = seen.get(field) ?? 0;
    seen.set(field, index + 1);
    const [name, of] = shape.fields[field] ?? [];
    const feature = `${shape.name}.${name ?? field}`;
    const isKnown = name !== undefined && (features === undefined || features.has(feature));
    if (isKnown && typeof of === 'function' && type === WireType.LengthDelimited) {
      for (const one of unknownFields(reader.bytes(), of(), features, `${at}${field}.${index}/`, depth + 1))
        add(one);
      continue;
    }
    if (isKnown && of === 'values' && features && type === WireType.LengthDelimited) {
      const value = reader.string().slice(0, valueCharsMax);
      if (value !== '' && !features.has(`${feature}=${value}`))
        add({ path: `${at}${field}`, feature: `${feature}=${value}` });
      continue;
    }
    reader.skip(type, field);
    // The decoder skips a message field with a wrong wire type, so such a field counts as unknown.
    if ((!isKnown || typeof of === 'function') && field < ignorableFrom)
      add({ path: `${at}${field}`, feature });
  }
  return [...unknown.values()];
}
