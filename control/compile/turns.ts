/**
 * Objects that are recompiled in later turns of the event loop, because something that they refer to has changed. The namespace that has used the
 * least time comes next: a namespace with large objects delays its own, and those of another namespace by one object at most.
 */
import type { ObjectKey } from '../objects/object-key.js';

interface Share {
  /** Time used since the queue was last empty. */
  spentMs: number;
  readonly keys: Set<ObjectKey>;
}

export class RecompileQueue {
  readonly #shares = new Map<string, Share>();
  readonly #namespaceOf = new Map<ObjectKey, string>();
  #current: Share | undefined;

  get size(): number {
    return this.#namespaceOf.size;
  }

  add(namespace: string, key: ObjectKey): void {
    let share = this.#shares.get(namespace);
    if (!share) this.#shares.set(namespace, (share = { spentMs: this.#least(), keys: new Set() }));
    share.keys.add(key);
    this.#namespaceOf.set(key, namespace);
  }

  /** The object was compiled or deleted meanwhile. */
  delete(key: ObjectKey): void {
    const namespace = this.#namespaceOf.get(key);
    if (namespace === undefined) return;
    this.#namespaceOf.delete(key);
    this.#shares.get(namespace)?.keys.delete(key);
    // Until then, a namespace keeps what it has spent: an object that comes again and again has no advantage.
    if (this.size === 0) this.clear();
  }

  clear(): void {
    this.#shares.clear();
    this.#namespaceOf.clear();
  }

  /** Removes the next object. Undefined: there is none. Call `spent` once it is compiled. */
  take(): ObjectKey | undefined {
    this.#current = undefined;
    for (const share of this.#shares.values())
      if (share.keys.size > 0 && share.spentMs < (this.#current?.spentMs ?? Infinity)) this.#current = share;
    const [key] = this.#current?.keys ?? [];
    if (key !== undefined) this.delete(key);
    return key;
  }

  /** The time that the object of the last `take` took. */
  spent(ms: number): void {
    if (this.#current) this.#current.spentMs += ms;
  }

  /** A namespace that comes anew is treated as the one that has used the least. */
  #least(): number {
    let least = Infinity;
    for (const { keys, spentMs } of this.#shares.values())
      if (keys.size > 0) least = Math.min(least, spentMs);
    return least === Infinity ? 0 : least;
  }
}
