/** Bytes of a mirrored request that its mirror has not accepted yet. Bounded for each mirror, and shared fairly among a worker's mirrors. */
import type { FairLimit } from '../../base/fair-limit.js';
import type { Client } from '../listener/client.js';
import { BufferList } from '../exchange/buffer-list.js';

/** The unit of the worker's limit. */
export const mirrorBlockBytes = 64 << 10;

export class MirrorBuffer {
  readonly #list = new BufferList();
  #bytes = 0;
  #blocks = 0;

  constructor(
    private readonly bytesMax: number,
    private readonly shares: FairLimit,
    private readonly client: Client,
  ) {}

  get isEmpty(): boolean {
    return this.#list.buffers.length === 0;
  }

  /** False: the limit of one mirror, or this client's share, is reached; nothing was added. */
  add(bytes: Buffer): boolean {
    const sum = this.#bytes + bytes.length;
    if (sum > this.bytesMax) return false;
    while (this.#blocks * mirrorBlockBytes < sum) {
      if (this.shares.take(this.client.name, this.client.group) !== undefined) {
        this.#release(this.#bytes);
        return false;
      }
      this.#blocks++;
    }
    this.#bytes = sum;
    this.#list.add(bytes);
    return true;
  }

  /** Passes pieces to `write` in order until `write` returns false or none is left. */
  drain(write: (bytes: Buffer) => boolean): void {
    let count = 0;
    for (const piece of this.#list.buffers) {
      count++;
      this.#bytes -= piece.length;
      if (!write(piece)) break;
    }
    this.#list.drop(count);
    this.#release(this.#bytes);
  }

  clear(): void {
    this.#list.clear();
    this.#bytes = 0;
    this.#release(0);
  }

  #release(needed: number): void {
    while (this.#blocks > 0 && (this.#blocks - 1) * mirrorBlockBytes >= needed) {
      this.#blocks--;
      this.shares.release(this.client.name, this.client.group);
    }
  }
}
