/** Request body bytes that are buffered for a retry. */
import { BufferList } from './buffer-list.js';

const none: readonly Buffer[] = [];

export class ReplayBuffer {
  /** Undefined: nothing is buffered. Most requests have no body. */
  #list: BufferList | undefined;
  #bytes = 0;
  #isWhole = true;

  constructor(private readonly bytesMax: number) {}

  /** All bytes of the body so far are buffered. */
  get isWhole(): boolean {
    return this.#isWhole;
  }
  get buffers(): readonly Buffer[] {
    return this.#list?.buffers ?? none;
  }

  /**
   * Buffers bytes. Beyond the limit the buffer is dropped, and the request cannot be retried.
   * @param isSent the bytes go to an upstream as well. Without one no bytes may be dropped: the client is paused, so that at most one piece
   * exceeds the limit.
   */
  add(bytes: Buffer, isSent: boolean): void {
    if (!this.#isWhole) return;
    this.#bytes += bytes.length;
    if (isSent && this.#bytes > this.bytesMax) {
      this.#list = undefined;
      this.#isWhole = false;
    } else (this.#list ??= new BufferList()).add(bytes);
  }

  /** Drops the buffer: no retry follows. */
  clear(): void {
    this.#list = undefined;
  }
}
