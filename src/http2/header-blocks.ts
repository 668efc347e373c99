import { flagPadded, flagPriority, frameBytesMin } from './codes.js';
import { blockBytesMin, blockBytesPerListByte, blockFramesMin } from './floods.js';
import type { ConnectionOptions } from './http2.js';

/** Puts together the header block of one HEADERS frame and its CONTINUATIONs. */
export class HeaderBlocks {
  /** The stream whose block is incomplete; 0: none. */
  id = 0;
  /** The flags of its HEADERS frame. */
  flags = 0;
  /** Why the block must not go on. */
  why = '';
  #parts: Buffer[] = [];
  #bytes = 0;
  #frames = 0;
  readonly #bytesMax: number;
  readonly #framesMax: number;

  constructor(options: ConnectionOptions) {
    this.#bytesMax = Math.max(blockBytesMin, blockBytesPerListByte * options.headerListBytesMax);
    this.#framesMax = blockFramesMin + Math.ceil(this.#bytesMax / frameBytesMin);
  }

  /** A HEADERS or CONTINUATION frame begins. False: the block exceeds a limit. */
  admit(length: number): boolean {
    if (this.#bytes + length > this.#bytesMax)
      this.why = `a header block of more than ${this.#bytesMax} bytes`;
    else if (this.#frames + 1 > this.#framesMax)
      this.why = `a header block of more than ${this.#framesMax} frames`;
    else return true;
    return false;
  }

  /** Begins a block whose HEADERS frame has no END_HEADERS. */
  begin(id: number, flags: number, fragment: Buffer): void {
    this.id = id;
    this.flags = flags;
    this.append(fragment);
  }

  /** Appends the fragment of a CONTINUATION frame. */
  append(fragment: Buffer): void {
    this.#frames++;
    this.#bytes += fragment.length;
    // A copy: a subarray would hold the whole read buffer in memory while the block is incomplete.
    if (fragment.length > 0) this.#parts.push(Buffer.from(fragment));
  }

  /** Ends the block and returns it. */
  take(): Buffer {
    const block = Buffer.concat(this.#parts);
    this.id = 0;
    this.#parts = [];
    this.#bytes = this.#frames = 0;
    return block;
  }
}

/** A HEADERS frame's fragment, without padding and priority; undefined: the padding is longer than the frame. */
export function fragmentOf(flags: number, payload: Buffer): Buffer | undefined {
  let from = 0;
  let to = payload.length;
  if ((flags & flagPadded) !== 0) {
    to -= payload[from++] ?? 0;
  }
  if ((flags & flagPriority) !== 0) from += 5;
  if (from > to) return undefined;
  return from === 0 ? payload : payload.subarray(from, to);
}

/** The stream on which a HEADERS frame with the priority flag depends; -1: none. */
export function dependencyOf(flags: number, payload: Buffer): number {
  const from = (flags & flagPadded) !== 0 ? 1 : 0;
  if ((flags & flagPriority) === 0 || payload.length < from + 4) return -1;
  return payload.readUInt32BE(from) & 0x7fff_ffff;
}
