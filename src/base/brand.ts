declare const brand: unique symbol;
/** A string or number that only its own parser makes, so that it is never confused with another. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };
