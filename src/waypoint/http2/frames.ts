/**
 * Reads the frame headers of an HTTP/2 connection. The library reports a request only when its header block is complete, so the time that a
 * block takes is measured here. Payloads are not copied.
 */
const prefaceBytes = 24;
const frameHeadBytes = 9;
const [headersType, continuationType] = [0x1, 0x9];
const endHeaders = 0x4;

export class FrameReader {
  readonly #head = Buffer.alloc(frameHeadBytes);
  #headBytes = 0;
  /** Bytes to skip until the next frame header: the preface, then payloads. */
  #skip = prefaceBytes;
  #endsBlock = false;
  #inBlock = false;

  /** A header block has begun (RFC 9113, section 4.3) and has not ended. */
  get inBlock(): boolean {
    return this.#inBlock;
  }

  /** Reads the client's bytes, in order, from the connection's first byte on. */
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
