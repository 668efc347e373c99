/** Layouts of maps and structs, as described by BTF. */

/** Offset and size in bytes. `struct` is the name of the field's struct, empty if the field is not a struct. */
export type FieldLayout = readonly [offset: number, size: number, struct: string];
export type StructLayout = readonly [size: number, fields: Readonly<Record<string, FieldLayout>>];
export type StructLayouts = Readonly<Record<string, StructLayout>>;

export interface Layout {
  /** Structs whose names begin with weft_. */
  readonly structs: StructLayouts;
  /** enumerator -> value */
  readonly enums: Readonly<Record<string, number>>;
}
export interface ObjectLayout extends Layout {
  /** Pinned maps only. */
  readonly maps: Readonly<Record<string, MapLayout>>;
}
export interface MapLayout {
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Names of structs; empty if keys or values are numbers. */
  readonly key: string;
  readonly value: string;
}
/** Empty if the kernel keeps no types for this type of map. */
export interface PinnedLayout extends Layout {
  readonly key: string;
  readonly value: string;
}
