/** Keeps what is expensive to read, and reads it again when it may have changed. */

interface Options<T> {
  /** Older values are read again. */
  readonly ageMsMax: number;
  /** Whether a value says that reading failed: it is read again after the pause. */
  readonly isFailed?: (value: T) => boolean;
  /** The least time between two readings, as a share of how long the last took: reading takes a bounded part of the time. */
  readonly pausePerReading?: number;
  /** Monotonic. */
  readonly nowMs?: () => number;
}

export class Kept<T> {
  #value: { readonly value: T; readonly atMs: number; readonly mark: string | undefined } | undefined;
  #reading: Promise<T> | undefined;
  #pauseUntilMs = 0;

  constructor(
    private readonly read: () => Promise<T>,
    private readonly options: Options<T>,
  ) {}

  #now(): number {
    return (this.options.nowMs ?? (() => performance.now()))();
  }

  /** Rejects as `read` does. */
  #start(mark: string | undefined): Promise<T> {
    this.#reading ??= (async () => {
      const beganMs = this.#now();
      try {
        const value = await this.read();
        this.#value = { value, atMs: this.#now(), mark };
        return value;
      } finally {
        const endMs = this.#now();
        this.#pauseUntilMs = endMs + (endMs - beganMs) * (this.options.pausePerReading ?? 0);
        this.#reading = undefined;
      }
    })();
    return this.#reading;
  }

  /**
   * The value: what is kept, though it is read again in the background if it is too old or was read at another mark. Callers wait for the first one.
   * @param mark what the value depends on, as far as it is known
   * @param waitMs how long they wait at most: undefined is returned after that
   */
  async get(mark?: string, waitMs?: number): Promise<T | undefined> {
    const known = this.#value;
    if (!known) return waitMs === undefined ? this.#start(mark) : within(waitMs, this.#start(mark));
    const nowMs = this.#now();
    const { ageMsMax, isFailed } = this.options;
    const isOld = nowMs - known.atMs > ageMsMax || mark !== known.mark || isFailed?.(known.value) === true;
    // A failed reading leaves the value that is known; it is tried again after the pause.
    if (isOld && nowMs >= this.#pauseUntilMs) this.#start(mark).catch(() => undefined);
    return known.value;
  }
}

/** Undefined if it takes longer. Rejects as `reading` does. */
async function within<T>(ms: number, reading: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), ms)));
  try {
    return await Promise.race([reading, late]);
  } finally {
    clearTimeout(timer);
    // Nobody waits for a late failure.
    reading.catch(() => undefined);
  }
}
