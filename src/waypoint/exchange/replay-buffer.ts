/** Bytes of a request's body that were read so far, for as long as they may have to be sent again. */
import { BufferList } from './buffer-list.js';

const none: readonly Buffer[] = [];

export class ReplayBuffer {
  /** Undefined: nothing is kept. Most requests have no body. */
  #list: BufferList | undefined;
  #bytes = 0;
  #isWhole = true;

  constructor(private readonly bytesMax: number) {}

  /** Everything so far is there. */
  get isWhole(): boolean {
    return this.#isWhole;
  }
  get buffers(): readonly Buffer[] {
    return this.#list?.buffers ?? none;
  }

  /**
   * `isSent`: somebody has these bytes already. Until then none may be lost, so the reader is paused, and one piece at most comes beyond
   * the limit.
   */
  add(bytes: Buffer, isSent: boolean): void {
    if (!this.#isWhole) return;
    this.#bytes += bytes.length;
    if (isSent && this.#bytes > this.bytesMax) {
      this.#list = undefined;
      this.#isWhole = false;
    } else (this.#list ??= new BufferList()).add(bytes);
  }

  /** Nothing is sent again from here on. */
  clear(): void {
    this.#list = undefined;
  }
}
