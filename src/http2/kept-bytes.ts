/** What the process keeps for paused streams, of all connections together. A peer alone decides how much of it there would be otherwise. */

/** The receive window of one connection. */
export interface KeptBytesHolder {
  /** Bytes of its paused streams. */
  readonly kept: number;
  /** Resets the stream that keeps most. */
  shed(): void;
  /** There may be room again for what was not credited. */
  offer(): void;
}

/** How often connections that wait for shared room are asked. */
const offerMs = 500;

export class KeptBytes {
  #bytes = 0;
  #shared = 0;
  readonly #holders = new Set<KeptBytesHolder>();
  readonly #waiting = new Set<KeptBytesHolder>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    /** Bytes that were credited although they are kept, beyond one window of each connection. */
    public sharedMax: number,
    /** All kept bytes. Beyond them, streams of the connection that keeps most are reset: otherwise the process would end, with everybody's. */
    public bytesMax: number,
  ) {}

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * How much more may be credited to a connection that has this much of the shared bytes. No connection gets more than it leaves to others,
   * so there is always room for the next one.
   */
  room(shared: number): number {
    return Math.max(0, (this.sharedMax - this.#shared - shared) >> 1);
  }

  share(bytes: number): void {
    this.#shared += bytes;
  }

  /** Kept bytes of the holder were not credited: its other streams wait until they are. */
  wait(holder: KeptBytesHolder): void {
    this.#waiting.add(holder);
    this.#timer ??= setTimeout(() => this.#offer(), offerMs).unref();
  }

  #offer(): void {
    this.#timer = undefined;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const holder of waiting) holder.offer();
  }

  add(holder: KeptBytesHolder, bytes: number): void {
    this.#bytes += bytes;
    this.#holders.add(holder);
    while (this.#bytes > this.bytesMax) {
      const before = this.#bytes;
      this.#most()?.shed();
      if (this.#bytes >= before) return;
    }
  }

  remove(holder: KeptBytesHolder, bytes: number): void {
    this.#bytes -= bytes;
    if (holder.kept > 0) return;
    this.#holders.delete(holder);
    this.#waiting.delete(holder);
  }

  #most(): KeptBytesHolder | undefined {
    let most: KeptBytesHolder | undefined;
    for (const holder of this.#holders) if (!most || holder.kept > most.kept) most = holder;
    return most;
  }
}

/** An agent and a waypoint have 1 GiB (values.yaml). */
export const keptBytes = new KeptBytes(256 << 20, 384 << 20);
