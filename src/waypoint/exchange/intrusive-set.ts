/**
 * A set whose members store their own index, for members that are added and removed by the thousand. A JavaScript Set would allocate a new
 * table every few dozen members, and each old table points to the next. When a table is garbage in the old generation, the collector treats all
 * later tables and their members as alive until the next full collection, so each request's objects would be copied twice for nothing.
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

  /** Does nothing if the member is not in the set. */
  delete(one: T): void {
    const { slot } = one;
    if (slot < 0) return;
    one.slot = -1;
    const last = this.#all.pop();
    if (last === undefined || last === one) return;
    last.slot = slot;
    this.#all[slot] = last;
  }

  /** Iterates over a snapshot of the members. */
  [Symbol.iterator](): Iterator<T> {
    return [...this.#all][Symbol.iterator]();
  }
}
