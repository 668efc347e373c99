import type { FetchedKeys } from '../compile/jwt-filter.js';

/** Nothing is known yet: this is no problem of the URI. */
export const notFetched: FetchedKeys = { jwks: '', problem: 'its keys have not been fetched yet' };

/** The end of a remark about keys that are not known yet. */
export const awaitsKeys = 'is valid until its keys have been fetched';

/** Keys of issuers, by the URI that they were fetched from. Sole owner. */
export class KeySets {
  readonly #known = new Map<string, FetchedKeys>();

  /** The keys behind a URI: the last good set, or why there is none. */
  of(uri: string): FetchedKeys {
    return this.#known.get(uri) ?? notFetched;
  }
  /** Stores what is known. @returns whether it differs from before */
  set(uri: string, keys: FetchedKeys): boolean {
    const before = this.of(uri);
    this.#known.set(uri, keys);
    return before.jwks !== keys.jwks || before.problem !== keys.problem;
  }
  delete(uri: string): void {
    this.#known.delete(uri);
  }
}
