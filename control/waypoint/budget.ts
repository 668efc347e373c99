/** How often something may be done for one name: a burst, then one per interval. What one namespace asks for delays no other. */
export class Budget {
  readonly #spent = new Map<string, { left: number; atMs: number }>();

  constructor(
    private readonly burst: number,
    private readonly intervalMs: number,
    private readonly now: () => number = Date.now,
  ) {}

  /** 0 where it may be done, which counts; else how long to wait (ms), which does not count. */
  take(name: string): number {
    const nowMs = this.now();
    const before = this.#spent.get(name);
    const regained = before ? Math.floor((nowMs - before.atMs) / this.intervalMs) : 0;
    const left = Math.min(this.burst, (before?.left ?? this.burst) + regained);
    // The part of an interval that has passed is not lost.
    const atMs = before && left < this.burst ? before.atMs + regained * this.intervalMs : nowMs;
    if (left === 0) return atMs + this.intervalMs - nowMs;
    this.#spent.set(name, { left: left - 1, atMs });
    return 0;
  }

  /** Names of which nothing is asked any more. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const name of this.#spent.keys()) if (!names.has(name)) this.#spent.delete(name);
  }
}
