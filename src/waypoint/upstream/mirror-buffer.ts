/** Bytes of a mirrored request that its mirror has not taken yet: bounded for each mirror, and shared fairly by all of a worker. */
import type { FairLimit } from '../../base/fair-limit.js';
import type { Client } from '../listener/client.js';
import { BufferList } from '../exchange/buffer-list.js';

/** What the worker's limit counts. */
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

  /** False: it would be more than one mirror, or this client's mirrors, may hold; nothing was added. */
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

  /** Hands pieces to `write` in order until it says false, or none is left. */
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
