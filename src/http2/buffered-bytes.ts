/** What the process buffers for paused streams, of all connections together. A peer alone decides how much of it there would be otherwise. */

/** The receive window of one connection. */
export interface BufferedBytesHolder {
  /** Bytes of its paused streams. */
  readonly buffered: number;
  /** Resets the stream that buffers most. */
  shed(): void;
  /** There may be room again for what was not credited. */
  offer(): void;
}

/** How often connections that wait for shared room are asked. */
const offerMs = 500;

class BufferedBytes {
  #bytes = 0;
  #shared = 0;
  readonly #holders = new Set<BufferedBytesHolder>();
  readonly #waiting = new Set<BufferedBytesHolder>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    /** Bytes that were credited although they are buffered, beyond one window of each connection. */
    public sharedMax: number,
    /** All buffered bytes. Beyond them, streams of the connection that buffers most are reset: otherwise the process would end, with everybody's. */
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

  /** Buffered bytes of the holder were not credited: its other streams wait until they are. */
  wait(holder: BufferedBytesHolder): void {
    this.#waiting.add(holder);
    this.#timer ??= setTimeout(() => this.#offer(), offerMs).unref();
  }

  #offer(): void {
    this.#timer = undefined;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const holder of waiting) holder.offer();
  }

  add(holder: BufferedBytesHolder, bytes: number): void {
    this.#bytes += bytes;
    this.#holders.add(holder);
    while (this.#bytes > this.bytesMax) {
      const before = this.#bytes;
      this.#most()?.shed();
      if (this.#bytes >= before) return;
    }
  }

  remove(holder: BufferedBytesHolder, bytes: number): void {
    this.#bytes -= bytes;
    if (holder.buffered > 0) return;
    this.#holders.delete(holder);
    this.#waiting.delete(holder);
  }

  #most(): BufferedBytesHolder | undefined {
    let most: BufferedBytesHolder | undefined;
    for (const holder of this.#holders) if (!most || holder.buffered > most.buffered) most = holder;
    return most;
  }
}

/** An agent and a waypoint have 1 GiB (values.yaml). */
export const bufferedBytes = new BufferedBytes(256 << 20, 384 << 20);
