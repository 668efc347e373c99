/** Chunks below this are copied together: a queue of one-byte chunks must not cost an object and a read buffer for each. */
const smallBytes = 1024;
const joinedBytes = 8 << 10;
/**
 * A chunk is kept by reference if it is at least this part of the memory that the reference holds. A peer chooses what a read of its socket
 * contains: a small part for this queue and a large one that nobody keeps would let a few queued bytes hold many times as many.
 */
const referencePartMin = 1 / 4;

function copyOf(chunk: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(chunk.length);
  copy.set(chunk);
  return copy;
}

/** A queue of bytes. Large chunks are queued by reference. */
export class ByteQueue {
  /** Length of the queue in bytes. */
  bytes = 0;
  #chunks: Buffer[] = [];
  #head = 0;
  /** The last chunk, if it is a buffer of this queue, and the bytes of it that are used. */
  #joined: Buffer | undefined;
  #used = 0;

  push(chunk: Buffer): void {
    const { length } = chunk;
    this.bytes += length;
    if (length >= smallBytes) {
      this.#close();
      this.#chunks.push(length < chunk.buffer.byteLength * referencePartMin ? copyOf(chunk) : chunk);
      return;
    }
    if (this.#joined && this.#joined.length - this.#used < length) this.#close();
    this.#joined ??= Buffer.allocUnsafeSlow(this.#chunks.length === 0 ? 2 * smallBytes : joinedBytes);
    this.#joined.set(chunk, this.#used);
    this.#used += length;
  }

  #close(): void {
    if (!this.#joined) return;
    if (this.#used > 0) this.#chunks.push(this.#joined.subarray(0, this.#used));
    this.#joined = undefined;
    this.#used = 0;
  }

  /** The next bytes, at most `bytesMax`. Not to be called on an empty queue. */
  shift(bytesMax: number): Buffer {
    if (this.#head === this.#chunks.length) this.#close();
    const chunk = this.#chunks[this.#head] as Buffer;
    if (chunk.length > bytesMax) {
      this.#chunks[this.#head] = chunk.subarray(bytesMax);
      this.bytes -= bytesMax;
      return chunk.subarray(0, bytesMax);
    }
    this.bytes -= chunk.length;
    this.#head++;
    if (this.#head === this.#chunks.length) {
      this.#chunks = [];
      this.#head = 0;
    } else if (this.#head === 64) {
      this.#chunks = this.#chunks.slice(64);
      this.#head = 0;
    }
    return chunk;
  }

  clear(): void {
    this.bytes = 0;
    this.#chunks = [];
    this.#head = 0;
    this.#joined = undefined;
    this.#used = 0;
  }
}
