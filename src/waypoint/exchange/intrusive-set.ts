/**
 * A set of what knows its own place in it, for what comes and goes by the thousand. Not a Set: that allocates a table anew every
 * few dozen members, and the old one keeps pointing to the new. Once one of them is old garbage, all tables after it, and what
 * they held, are taken for alive until the next full collection: each request's objects would be copied twice for nothing.
 */
export class IntrusiveSet<T extends { slot: number }> {
  readonly #all: T[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(one: T): void {
    one.slot = this.#all.length;
    this.#all.push(one);
  }

  /** Nothing where it is not in. */
  delete(one: T): void {
    const { slot } = one;
    if (slot < 0) return;
    one.slot = -1;
    const last = this.#all.pop();
    if (last === undefined || last === one) return;
    last.slot = slot;
    this.#all[slot] = last;
  }

  /** Of those that are in now, whatever comes or goes meanwhile. */
  [Symbol.iterator](): Iterator<T> {
    return [...this.#all][Symbol.iterator]();
  }
}
