/** Names of header fields that only the waypoint may set, whatever the client sends. */
import type { Headers } from './headers.js';

export class FieldNames {
  readonly #names: ReadonlySet<string>;

  /** @param names in lower case */
  constructor(names: readonly string[]) {
    this.#names = new Set(names.map(dashed));
  }

  /** Removes the fields, in place. CGI and its heirs read `x_user` as `x-user`, so both are removed. */
  removeFrom(headers: Headers): void {
    if (this.#names.size === 0) return;
    let to = 0;
    for (let from = 0; from < headers.length; from += 2) {
      const name = headers[from] ?? '';
      if (this.#names.has(name.includes('_') ? dashed(name) : name)) continue;
      if (to !== from) {
        headers[to] = name;
        headers[to + 1] = headers[from + 1] ?? '';
      }
      to += 2;
    }
    headers.length = to;
  }
}

const dashed = (name: string): string => name.replaceAll('_', '-');
