/**
 * The time that a namespace's objects may be compiled in the turn of the event loop in which they change. It is counted afterwards, so that one large
 * object takes what it needs once, and the namespace waits until the time is earned again (docs/limits.md).
 */

/** Earned per second: a fifth of one CPU. */
const perSecondMs = 200;
const burstMs = 100;
const namespacesMax = 8_192;

interface Balance {
  ms: number;
  atMs: number;
}

export class CompileBudget {
  readonly #balances = new Map<string, Balance>();

  constructor(private readonly nowMs: () => number = () => performance.now()) {}

  /** Whether the namespace has time left. */
  has(namespace: string): boolean {
    return this.#balance(namespace) > 0;
  }

  spend(namespace: string, ms: number): void {
    const left = this.#balance(namespace) - ms;
    this.#balances.delete(namespace);
    const [oldest] = this.#balances.keys();
    if (oldest !== undefined && this.#balances.size >= namespacesMax) this.#balances.delete(oldest);
    this.#balances.set(namespace, { ms: left, atMs: this.nowMs() });
  }

  #balance(namespace: string): number {
    const known = this.#balances.get(namespace);
    if (!known) return burstMs;
    return Math.min(burstMs, known.ms + (Math.max(0, this.nowMs() - known.atMs) * perSecondMs) / 1000);
  }
}
