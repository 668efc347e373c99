/**
 * A cache of bounded memory that clients share fairly. At the limit the group that uses most loses its least recently used entry, so a group
 * that fills the cache pushes out its own entries alone.
 */
interface Kept<T> {
  readonly value: T;
  readonly bytes: number;
  /** By the caller's clock. */
  readonly untilMs: number;
}
interface Group<T> {
  /** In the order of use. */
  readonly entries: Map<string, Kept<T>>;
  bytes: number;
}

export class FairCache<T> {
  readonly #groups = new Map<string, Group<T>>();
  #bytes = 0;
  #size = 0;

  constructor(
    private readonly max: { readonly bytes: number; readonly entries: number },
    private readonly onEvicted: () => void = () => undefined,
  ) {}

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#size;
  }

  get(group: string, key: string, nowMs: number): T | undefined {
    const members = this.#groups.get(group);
    const kept = members?.entries.get(key);
    if (!members || !kept) return undefined;
    if (kept.untilMs <= nowMs) {
      this.#drop(group, members, key, kept);
      return undefined;
    }
    // Moves the entry to the end.
    members.entries.delete(key);
    members.entries.set(key, kept);
    return kept.value;
  }

  /** @param bytes of memory that the entry takes, estimated */
  set(group: string, key: string, value: T, bytes: number, untilMs = Infinity): void {
    this.delete(group, key);
    if (bytes > this.max.bytes) return;
    let members = this.#groups.get(group);
    if (!members) this.#groups.set(group, (members = { entries: new Map(), bytes: 0 }));
    members.entries.set(key, { value, bytes, untilMs });
    members.bytes += bytes;
    this.#bytes += bytes;
    this.#size++;
    while (this.#bytes > this.max.bytes || this.#size > this.max.entries) this.#evict();
  }

  delete(group: string, key: string): void {
    const members = this.#groups.get(group);
    const kept = members?.entries.get(key);
    if (members && kept) this.#drop(group, members, key, kept);
  }

  #evict(): void {
    let largest: [string, Group<T>] | undefined;
    for (const one of this.#groups) if (!largest || one[1].bytes > largest[1].bytes) largest = one;
    const [oldest] = largest?.[1].entries ?? [];
    if (!largest || !oldest) return;
    this.#drop(largest[0], largest[1], oldest[0], oldest[1]);
    this.onEvicted();
  }

  #drop(group: string, members: Group<T>, key: string, { bytes }: Kept<T>): void {
    members.entries.delete(key);
    members.bytes -= bytes;
    this.#bytes -= bytes;
    this.#size--;
    if (members.entries.size === 0) this.#groups.delete(group);
  }
}
