/** Reads the records of carrier.proto's FlowRecords in place: most flows cost no object. */
import { Ended } from './gen/carrier.js';
import { malformed } from './protocol.js';

const recordBytes = 64;
const at = {
  flow: 0,
  rule: 8,
  bytesSent: 16,
  bytesReceived: 24,
  timeMs: 32,
  ip: 40,
  port: 56,
  target: 58,
  kind: 60,
  ended: 61,
} as const;
const ipBytes = 16;
const kinds = { opened: 1, closed: 2 } as const;
const endedMax = Ended.ENDED_REFUSED;

export class FlowRecords {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  #at = -recordBytes;

  /** Throws WEFT_CARRIER_MESSAGE. */
  constructor(bytes: Buffer) {
    if (bytes.length % recordBytes !== 0) throw malformed('records of another size');
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Moves to the next record; false at the end. Throws WEFT_CARRIER_MESSAGE. */
  next(): boolean {
    this.#at += recordBytes;
    if (this.#at >= this.#bytes.length) return false;
    const kind = this.#bytes[this.#at + at.kind];
    const ended = this.#bytes[this.#at + at.ended] ?? 0;
    if ((kind !== kinds.opened && kind !== kinds.closed) || ended > endedMax || this.clientPort === 0)
      throw malformed('a record of an unknown kind');
    return true;
  }

  get flow(): number {
    return this.#number(at.flow);
  }
  get rule(): number {
    return this.#number(at.rule);
  }
  get bytesSent(): number {
    return this.#number(at.bytesSent);
  }
  get bytesReceived(): number {
    return this.#number(at.bytesReceived);
  }
  /** Of an opening. */
  get ageMs(): number {
    return this.#number(at.timeMs);
  }
  get durationMs(): number {
    return this.#number(at.timeMs);
  }
  get clientPort(): number {
    return this.#view.getUint16(this.#at + at.port, true);
  }
  get target(): number {
    return this.#view.getUint16(this.#at + at.target, true);
  }
  get isOpening(): boolean {
    return this.#bytes[this.#at + at.kind] === kinds.opened;
  }
  get ended(): Ended {
    return this.#bytes[this.#at + at.ended] as Ended;
  }
  clientIp(): Buffer {
    const from = this.#at + at.ip;
    return this.#bytes.subarray(from, from + ipBytes);
  }
  isClientIp(ip: Buffer): boolean {
    const from = this.#at + at.ip;
    for (let i = 0; i < ipBytes; i++) if (this.#bytes[from + i] !== ip[i]) return false;
    return true;
  }
  /** Exact below 2^53. */
  #number(offset: number): number {
    const from = this.#at + offset;
    return this.#view.getUint32(from, true) + this.#view.getUint32(from + 4, true) * 2 ** 32;
  }
}
