import {
  errorCode,
  flagAck,
  flagEndHeaders,
  flagEndStream,
  frameContinuation,
  frameData,
  frameGoAway,
  frameHeadBytes,
  frameHeaders,
  framePing,
  frameRst,
  frameSettings,
  frameWindowUpdate,
} from './codes.js';
import type { OutputBuffer } from './hpack/hpack.js';

/** Frames are written into slabs of this size. */
const slabBytes = 32 << 10;
/** A slab with less room is left to the garbage collector. */
const slabRoomMin = 1 << 10;
/** Slabs of a process that wait for the next writer. */
const freeSlabsMax = 16;
/** Payloads of this size or more are passed by reference, smaller ones are copied. */
const referenceBytesMin = 8 << 10;

/**
 * Bytes of a slab are written once. Bytes that a transport holds are never overwritten, so the completion of writes is not tracked. The next
 * writer of any connection uses the rest of a slab, so an idle connection holds none.
 */
class Slab {
  used = 0;
  constructor(readonly bytes: Buffer) {}
}
const free: Slab[] = [];
const noBytes = Buffer.alloc(0);

/** Frames to be sent with the next flush. */
export class Output implements OutputBuffer {
  bytes: Buffer = noBytes;
  length = 0;
  #slab: Slab | undefined;
  /** Where the bytes of this output that are in no chunk yet begin. */
  #start = 0;
  /** Where the frame that is being written begins; -1: none. */
  #mark = -1;
  #chunks: Buffer[] = [];
  #chunkBytes = 0;
  /** The last DATA or HEADERS frame: its END_STREAM flag can be set until the flush. */
  #lastBytes: Buffer = noBytes;
  #lastAt = 0;
  #lastStream = 0;

  /** Bytes until the next `take`. */
  get pending(): number {
    return this.#chunkBytes + this.length - this.#start;
  }

  reserve(bytesMin: number): void {
    if (this.bytes.length - this.length < bytesMin) this.#replace(bytesMin);
  }

  #replace(bytesMin: number): void {
    const { bytes, length } = this;
    const from = this.#mark < 0 ? length : this.#mark;
    const unfinished = length - from;
    if (from > this.#start) this.#chunk(bytes.subarray(this.#start, from));
    const needed = unfinished + bytesMin;
    let slab = free.pop();
    if (slab && slab.bytes.length - slab.used < needed) {
      // It fits smaller frames.
      free.push(slab);
      slab = undefined;
    }
    slab ??= new Slab(Buffer.allocUnsafeSlow(Math.max(slabBytes, needed)));
    // A block that grows needs room for more than the next field.
    this.#start = slab.used;
    if (unfinished > 0) slab.bytes.set(bytes.subarray(from, length), slab.used);
    if (this.#mark >= 0) this.#mark = slab.used;
    const old = this.#slab;
    this.#slab = slab;
    this.bytes = slab.bytes;
    this.length = slab.used + unfinished;
    if (old && unfinished === 0) release(old, length);
  }

  #chunk(bytes: Buffer): void {
    this.#chunks.push(bytes);
    this.#chunkBytes += bytes.length;
  }

  /** Hands over everything that was written. */
  take(): Buffer[] {
    if (this.length > this.#start) this.#chunk(this.bytes.subarray(this.#start, this.length));
    if (this.#slab) release(this.#slab, this.length);
    this.#slab = undefined;
    this.bytes = noBytes;
    this.length = this.#start = 0;
    this.#lastStream = 0;
    this.#lastBytes = noBytes;
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#chunkBytes = 0;
    return chunks;
  }

  #head(length: number, type: number, flags: number, id: number): void {
    const { bytes } = this;
    const at = this.length;
    bytes[at] = length >>> 16;
    bytes[at + 1] = length >>> 8;
    bytes[at + 2] = length;
    bytes[at + 3] = type;
    bytes[at + 4] = flags;
    bytes[at + 5] = id >>> 24;
    bytes[at + 6] = id >>> 16;
    bytes[at + 7] = id >>> 8;
    bytes[at + 8] = id;
    this.length = at + frameHeadBytes;
  }

  #u32(value: number): void {
    const { bytes } = this;
    const at = this.length;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
    this.length = at + 4;
  }

  /** Writes a DATA frame. A large payload is passed by reference: it must not change afterwards. */
  data(id: number, payload: Buffer, endStream: boolean): void {
    const { length } = payload;
    const isCopied = length < referenceBytesMin;
    this.reserve(isCopied ? frameHeadBytes + length : frameHeadBytes);
    this.#lastBytes = this.bytes;
    this.#lastAt = this.length + 4;
    this.#lastStream = id;
    this.#head(length, frameData, endStream ? flagEndStream : 0, id);
    if (isCopied) {
      this.bytes.set(payload, this.length);
      this.length += length;
    } else {
      this.#chunk(this.bytes.subarray(this.#start, this.length));
      this.#start = this.length;
      this.#chunk(payload);
    }
  }

  /** Sets END_STREAM on the stream's last frame. False: the frame has left, or another stream's came after it. */
  endLast(id: number): boolean {
    if (this.#lastStream !== id) return false;
    this.#lastBytes[this.#lastAt] = (this.#lastBytes[this.#lastAt] as number) | flagEndStream;
    this.#lastStream = 0;
    return true;
  }

  /** Begins a HEADERS frame: the encoder appends its block. */
  beginHeaders(): void {
    this.reserve(frameHeadBytes + 256);
    this.#mark = this.length;
    this.length += frameHeadBytes;
  }

  /** Completes the frame that `beginHeaders` began. A block that exceeds the frame size is divided into CONTINUATION frames. */
  finishHeaders(id: number, endStream: boolean, frameBytesMax: number): void {
    const mark = this.#mark;
    this.#mark = -1;
    const end = this.length;
    const blockBytes = end - mark - frameHeadBytes;
    const flags = endStream ? flagEndStream : 0;
    if (blockBytes > frameBytesMax) return this.#divide(id, flags, mark, frameBytesMax);
    this.#lastBytes = this.bytes;
    this.#lastAt = mark + 4;
    this.#lastStream = id;
    this.length = mark;
    this.#head(blockBytes, frameHeaders, flags | flagEndHeaders, id);
    this.length = end;
  }

  #divide(id: number, flags: number, mark: number, frameBytesMax: number): void {
    const block = Buffer.from(this.bytes.subarray(mark + frameHeadBytes, this.length));
    this.length = mark;
    for (let at = 0; at < block.length; at += frameBytesMax) {
      const part = block.subarray(at, at + frameBytesMax);
      const isLast = at + frameBytesMax >= block.length;
      this.reserve(frameHeadBytes + part.length);
      this.#head(
        part.length,
        at === 0 ? frameHeaders : frameContinuation,
        (at === 0 ? flags : 0) | (isLast ? flagEndHeaders : 0),
        id,
      );
      this.bytes.set(part, this.length);
      this.length += part.length;
    }
    this.#lastStream = 0;
  }

  rst(id: number, code: number): void {
    this.reserve(frameHeadBytes + 4);
    this.#head(4, frameRst, 0, id);
    this.#u32(code);
    if (this.#lastStream === id) this.#lastStream = 0;
  }

  windowUpdate(id: number, bytes: number): void {
    this.reserve(frameHeadBytes + 4);
    this.#head(4, frameWindowUpdate, 0, id);
    this.#u32(bytes);
  }

  ping(isAck: boolean, opaque: Buffer): void {
    this.reserve(frameHeadBytes + 8);
    this.#head(8, framePing, isAck ? flagAck : 0, 0);
    this.bytes.set(opaque, this.length);
    this.length += 8;
  }

  /** @param entries identifier, value, identifier, value ... */
  settings(entries: readonly number[]): void {
    this.reserve(frameHeadBytes + entries.length * 3);
    this.#head(entries.length * 3, frameSettings, 0, 0);
    for (let i = 0; i + 1 < entries.length; i += 2) {
      const id = entries[i] as number;
      this.bytes[this.length++] = id >>> 8;
      this.bytes[this.length++] = id;
      this.#u32(entries[i + 1] as number);
    }
  }

  settingsAck(): void {
    this.reserve(frameHeadBytes);
    this.#head(0, frameSettings, flagAck, 0);
  }

  /** @param why sent as debug data, unless the code is NO_ERROR: at most 200 bytes */
  goAway(lastStreamId: number, code: number, why: string): void {
    const debug = code === errorCode.none ? noBytes : Buffer.from(why.slice(0, 200), 'latin1');
    this.reserve(frameHeadBytes + 8 + debug.length);
    this.#head(8 + debug.length, frameGoAway, 0, 0);
    this.#u32(lastStreamId);
    this.#u32(code);
    this.bytes.set(debug, this.length);
    this.length += debug.length;
  }

  /** Writes bytes that are no frame: the client's preface. */
  raw(bytes: Buffer): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }
}

function release(slab: Slab, used: number): void {
  slab.used = used;
  if (slab.bytes.length - used >= slabRoomMin && free.length < freeSlabsMax) free.push(slab);
}
