/**
 * Frames of HTTP/2 as they come in, by their heads alone: the library tells of a request once its header block is whole, so how long a
 * block takes is seen nowhere else. Nothing is copied.
 */
const prefaceBytes = 24;
const frameHeadBytes = 9;
const [headersType, continuationType] = [0x1, 0x9];
const endHeaders = 0x4;

export class FrameReader {
  readonly #head = Buffer.alloc(frameHeadBytes);
  #headBytes = 0;
  /** Bytes that belong to no frame's head. */
  #skip = prefaceBytes;
  #endsBlock = false;
  #inBlock = false;

  /** A header block has begun (RFC 9113, section 4.3) and has not come to its end. */
  get inBlock(): boolean {
    return this.#inBlock;
  }

  /** What the client sent, in order, from the connection's first byte on. */
  read(bytes: Buffer): void {
    let at = 0;
    for (;;) {
      const skipped = Math.min(this.#skip, bytes.length - at);
      at += skipped;
      this.#skip -= skipped;
      if (this.#skip > 0) return;
      if (this.#endsBlock) {
        this.#endsBlock = false;
        this.#inBlock = false;
      }
      if (at === bytes.length) return;
      const taken = bytes.copy(this.#head, this.#headBytes, at, at + frameHeadBytes - this.#headBytes);
      at += taken;
      this.#headBytes += taken;
      if (this.#headBytes < frameHeadBytes) return;
      this.#headBytes = 0;
      this.#skip = this.#head.readUIntBE(0, 3);
      const [type, flags] = [this.#head[3], this.#head[4] ?? 0];
      if (type !== headersType && type !== continuationType) continue;
      this.#inBlock = true;
      this.#endsBlock = (flags & endHeaders) !== 0;
    }
  }
}
