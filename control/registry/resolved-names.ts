/** Addresses of the host names that the control plane resolves. Sole owner. */
export class ResolvedNames {
  readonly #addresses = new Map<string, readonly string[]>();

  /** The addresses of a name, sorted; empty while there are none. */
  of(name: string): readonly string[] {
    return this.#addresses.get(name) ?? [];
  }
  /** Stores the addresses of a name. @returns whether they differ from the former ones */
  set(name: string, addresses: readonly string[]): boolean {
    const sorted = [...new Set(addresses)].sort();
    if (sorted.join(' ') === this.of(name).join(' ')) return false;
    if (sorted.length > 0) this.#addresses.set(name, sorted);
    else this.#addresses.delete(name);
    return true;
  }
}
