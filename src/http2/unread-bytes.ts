/** Limits of data that a stream has received and its owner has not read when the peer resets the stream. */

/** After one side was reset: how long data waits for a slow reader on the other side before it is dropped. */
export const deliveryMsMax = 30_000;

/**
 * Bytes that the reset streams of one connection may hold together. A reset stream no longer counts against the connection's concurrent
 * streams, so nothing else bounds this memory. Data beyond the limit is lost.
 */
export const unreadBytesMax = 16 << 20;

/** The unread bytes of one connection's reset streams. */
export class UnreadBytes {
  #bytes = 0;

  /** False: the limit is reached, nothing was taken. */
  take(bytes: number): boolean {
    if (this.#bytes + bytes > unreadBytesMax) return false;
    this.#bytes += bytes;
    return true;
  }

  /** The bytes were read or dropped. */
  release(bytes: number): void {
    this.#bytes -= bytes;
  }
}
