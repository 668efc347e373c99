/** A message of generated, readonly types, for tests that change it. */
export type Mutable<T> = T extends Uint8Array ? T : { -readonly [K in keyof T]: Mutable<T[K]> };
