/** Names of header fields that only the waypoint may set, whatever the client sends. */
import type { Headers } from './headers.js';

/** The name as some endpoints read it: CGI and its heirs take `x_user` for `x-user`. */
export const dashed = (name: string): string => (name.includes('_') ? name.replaceAll('_', '-') : name);

export class FieldNames {
  readonly #names: ReadonlySet<string>;

  /** @param names in lower case */
  constructor(names: readonly string[]) {
    this.#names = new Set(names.map(dashed));
  }

  /** Removes the fields in all of their spellings, in place. */
  removeFrom(headers: Headers): void {
    if (this.#names.size === 0) return;
    let to = 0;
    for (let from = 0; from < headers.length; from += 2) {
      const name = headers[from] ?? '';
      if (this.#names.has(dashed(name))) continue;
      if (to !== from) {
        headers[to] = name;
        headers[to + 1] = headers[from + 1] ?? '';
      }
      to += 2;
    }
    headers.length = to;
  }
}
