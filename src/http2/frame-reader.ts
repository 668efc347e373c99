import { flagPadded, frameData, frameHeadBytes } from './codes.js';

/** The client's connection preface (RFC 9113, section 3.4). */
export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** What is to be done with a frame's payload. */
export const payloadStop = 0;
export const payloadSkip = 1;
export const payloadWhole = 2;
export const payloadData = 3;

export interface FrameSink {
  /** The client's preface is wrong. */
  onBadPreface(): void;
  /** A frame begins. Returns what is to be done with its payload; `payloadStop`: nothing more is read. */
  onFrame(type: number, flags: number, id: number, length: number): number;
  /** The payload of a frame that is to be read as a whole. The bytes are valid during the call. */
  onPayload(type: number, flags: number, id: number, payload: Buffer): void;
  /** A part of a DATA frame, without its padding. */
  onDataPart(bytes: Buffer): void;
  /** The DATA frame is complete. `padding`: bytes of padding, its length included. */
  onDataEnd(flags: number, padding: number): void;
  /** A DATA frame's padding is longer than the frame. */
  onBadPadding(): void;
}

const inPreface = 0;
const inHead = 1;
const inSkip = 2;
const inWhole = 3;
const inPadLength = 4;
const inData = 5;
const inPadding = 6;

/** Divides a connection's bytes into frames. Payloads of DATA frames are passed on as they arrive, as subarrays of what was read. */
export class FrameReader {
  /** Nothing more is read. The sink may set it within any of its calls. */
  isStopped = false;
  #state: number;
  readonly #head = new Uint8Array(frameHeadBytes);
  #headBytes = 0;
  #type = 0;
  #flags = 0;
  #id = 0;
  /** Bytes of the payload that have not arrived; in a DATA frame without the padding. */
  #left = 0;
  #padding = 0;
  #paddingTotal = 0;
  #whole: Buffer | undefined;
  #wholeBytes = 0;

  constructor(
    private readonly sink: FrameSink,
    hasPreface: boolean,
  ) {
    this.#state = hasPreface ? inPreface : inHead;
  }

  /** The frame whose payload is incomplete; -1: none. */
  get incompleteType(): number {
    return this.#state === inHead || this.#state === inPreface ? -1 : this.#type;
  }

  read(bytes: Buffer): void {
    const end = bytes.length;
    let at = 0;
    while (!this.isStopped) {
      switch (this.#state) {
        case inPreface: {
          for (; at < end && this.#headBytes < preface.length; at++)
            if (bytes[at] !== preface[this.#headBytes++]) return this.sink.onBadPreface();
          if (this.#headBytes < preface.length) return;
          this.#headBytes = 0;
          this.#state = inHead;
          break;
        }
        case inHead:
          if (this.#headBytes === 0 && end - at >= frameHeadBytes) {
            this.#begin(bytes, at);
            at += frameHeadBytes;
          } else {
            while (at < end && this.#headBytes < frameHeadBytes)
              this.#head[this.#headBytes++] = bytes[at++] as number;
            if (this.#headBytes < frameHeadBytes) return;
            this.#headBytes = 0;
            this.#begin(this.#head, 0);
          }
          break;
        case inData: {
          const part = Math.min(end - at, this.#left);
          if (part > 0) {
            this.#left -= part;
            this.sink.onDataPart(part === end && at === 0 ? bytes : bytes.subarray(at, at + part));
            at += part;
          }
          if (this.#left > 0) return;
          this.#state = inPadding;
          break;
        }
        case inPadLength:
          if (at === end) return;
          this.#padding = bytes[at++] as number;
          this.#paddingTotal = this.#padding + 1;
          this.#left -= 1 + this.#padding;
          if (this.#left < 0) return this.sink.onBadPadding();
          this.#state = inData;
          break;
        case inPadding: {
          const part = Math.min(end - at, this.#padding);
          at += part;
          this.#padding -= part;
          if (this.#padding > 0) return;
          this.#state = inHead;
          if (!this.isStopped) this.sink.onDataEnd(this.#flags, this.#paddingTotal);
          break;
        }
        case inSkip: {
          const part = Math.min(end - at, this.#left);
          at += part;
          this.#left -= part;
          if (this.#left > 0) return;
          this.#state = inHead;
          break;
        }
        case inWhole: {
          const part = Math.min(end - at, this.#left);
          if (this.#wholeBytes === 0 && part === this.#left) {
            this.#state = inHead;
            this.sink.onPayload(this.#type, this.#flags, this.#id, bytes.subarray(at, at + part));
            at += part;
            break;
          }
          if (part > 0) this.#collect(bytes, at, part);
          at += part;
          this.#left -= part;
          if (this.#left > 0) return;
          const whole = (this.#whole as Buffer).subarray(0, this.#wholeBytes);
          this.#whole = undefined;
          this.#wholeBytes = 0;
          this.#state = inHead;
          this.sink.onPayload(this.#type, this.#flags, this.#id, whole);
          break;
        }
      }
      if (at === end && this.#state === inHead) return;
    }
  }

  /** Collects a payload in parts. The buffer grows with the received bytes, not to the announced length: a frame's head must not reserve memory. */
  #collect(bytes: Buffer, at: number, part: number): void {
    const needed = this.#wholeBytes + part;
    if (!this.#whole || this.#whole.length < needed) {
      const larger = Buffer.allocUnsafeSlow(
        Math.max(needed, Math.min(2 * needed, needed + this.#left - part)),
      );
      if (this.#whole) larger.set(this.#whole.subarray(0, this.#wholeBytes));
      this.#whole = larger;
    }
    this.#whole.set(bytes.subarray(at, at + part), this.#wholeBytes);
    this.#wholeBytes = needed;
  }

  #begin(head: Uint8Array, at: number): void {
    const length = ((head[at] as number) << 16) | ((head[at + 1] as number) << 8) | (head[at + 2] as number);
    const type = (this.#type = head[at + 3] as number);
    const flags = (this.#flags = head[at + 4] as number);
    const id = (this.#id =
      (((head[at + 5] as number) & 0x7f) << 24) |
      ((head[at + 6] as number) << 16) |
      ((head[at + 7] as number) << 8) |
      (head[at + 8] as number));
    this.#left = length;
    const how = this.sink.onFrame(type, flags, id, length);
    if (how === payloadData) {
      this.#padding = this.#paddingTotal = 0;
      this.#state = (flags & flagPadded) !== 0 && type === frameData ? inPadLength : inData;
      if (length === 0 && this.#state === inPadLength) this.sink.onBadPadding();
    } else if (how === payloadWhole) this.#state = inWhole;
    else if (how === payloadSkip) this.#state = inSkip;
    else this.isStopped = true;
  }
}
