/** Makes a generated, readonly message type writable for tests. */
export type Mutable<T> = T extends Uint8Array ? T : { -readonly [K in keyof T]: Mutable<T[K]> };
