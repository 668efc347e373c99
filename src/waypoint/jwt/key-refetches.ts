/**
 * Which key sets the control plane is asked to fetch again, because a token names a key that is not in its issuer's set. Clients choose the names of
 * keys, so nothing of a token is kept or sent: only the URI of the set, which is configured.
 */

/** Limits of docs/limits.md. */
export const keyRefetchLimits = {
  /** Time until the same set is asked for again. The request may be lost, or the control plane may have fetched just before the rotation. */
  intervalMs: 5_000,
  /** Sets whose last request is remembered, and sets of one request. A waypoint has as many sets as the control plane fetches. */
  sets: 500,
} as const;

export class KeyRefetches {
  /** When each set was last asked for, the longest ago first. */
  readonly #asked = new Map<string, number>();

  constructor(
    private readonly ask: (uri: string) => void,
    private readonly nowMs: () => number = () => performance.now(),
  ) {}

  /** Asks for a set, unless that was done a short time ago. */
  want(uri: string): void {
    const now = this.nowMs();
    const before = this.#asked.get(uri);
    if (before !== undefined && now - before < keyRefetchLimits.intervalMs) return;
    this.#asked.delete(uri);
    this.#asked.set(uri, now);
    if (this.#asked.size > keyRefetchLimits.sets)
      for (const oldest of this.#asked.keys()) {
        this.#asked.delete(oldest);
        break;
      }
    this.ask(uri);
  }
}

const batchMs = 200;

/** Sends what the workers ask for, together. */
export class KeyRefetchRequests {
  readonly #refetches: KeyRefetches;
  readonly #waiting = new Set<string>();

  /** @param send one request with at most `keyRefetchLimits.sets` URIs */
  constructor(send: (uris: readonly string[]) => void) {
    this.#refetches = new KeyRefetches((uri) => {
      if (this.#waiting.size === 0)
        setTimeout(() => {
          send([...this.#waiting].slice(0, keyRefetchLimits.sets));
          this.#waiting.clear();
        }, batchMs).unref();
      this.#waiting.add(uri);
    });
  }

  want(uri: string): void {
    this.#refetches.want(uri);
  }
}
