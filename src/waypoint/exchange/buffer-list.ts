/**
 * A list of buffered bytes, in the pieces in which they arrived. Small pieces are copied into one block: a Buffer takes some hundred bytes
 * beside its content and keeps alive the memory that it is a slice of, and a client chooses how small its frames or chunks are.
 */
const smallBytesMax = 4 << 10;
const blockBytesMin = 256;
const blockBytesMax = 16 << 10;

export class BufferList {
  #buffers: Buffer[] = [];
  /** The block that the last piece was copied into, with room for more; undefined if it was not copied. */
  #block: Buffer | undefined;

  get buffers(): readonly Buffer[] {
    return this.#buffers;
  }

  add(bytes: Buffer): void {
    const last = this.#buffers.at(-1);
    const sum = (last?.length ?? 0) + bytes.length;
    if (last === undefined || bytes.length >= smallBytesMax || sum > blockBytesMax) {
      this.#block = undefined;
      this.#buffers.push(bytes);
      return;
    }
    let block = this.#block;
    if (block === undefined || block.length < sum) {
      block = Buffer.allocUnsafeSlow(Math.min(blockBytesMax, Math.max(blockBytesMin, 2 * sum)));
      last.copy(block);
      this.#block = block;
    }
    bytes.copy(block, last.length);
    // An earlier, shorter view of the block may still be in use: its bytes do not change.
    this.#buffers[this.#buffers.length - 1] = block.subarray(0, sum);
  }

  /** Removes the first `count` pieces. */
  drop(count: number): void {
    this.#buffers.splice(0, count);
    if (this.#buffers.length === 0) this.#block = undefined;
  }

  clear(): void {
    this.#buffers = [];
    this.#block = undefined;
  }
}
