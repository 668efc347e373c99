/** Layouts of maps and structs, as BTF states them. */

/** [offset, size, struct]: bytes; the third is empty where the field is no struct. */
export type FieldLayout = readonly [offset: number, size: number, struct: string];
export type StructLayout = readonly [size: number, fields: Readonly<Record<string, FieldLayout>>];
export type StructLayouts = Readonly<Record<string, StructLayout>>;

export interface Layout {
  /** Those whose names begin with weft_. */
  readonly structs: StructLayouts;
  /** enumerator -> value */
  readonly enums: Readonly<Record<string, number>>;
}
export interface ObjectLayout extends Layout {
  /** The maps that are pinned. */
  readonly maps: Readonly<Record<string, MapLayout>>;
}
export interface MapLayout {
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Names of structs; empty where keys or values are numbers. */
  readonly key: string;
  readonly value: string;
}
/** Empty where the kernel keeps no types for this kind of map. */
export interface PinnedLayout extends Layout {
  readonly key: string;
  readonly value: string;
}
