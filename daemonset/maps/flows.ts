/** The ends of connections that the kernel carries, as the ring has them (weft_flows). */
import { endianness } from 'node:os';
import { decodeLive, structs, type LiveEntry } from '../datapath/layout.js';

const little = endianness() === 'LE';

/**
 * Flows as the ring gives them, many in one piece, read in place: what is told of a connection is mostly the same as of the
 * one before, so only the parts that differ are decoded for each.
 */
export class FlowReader {
  static readonly recordSize = structs.weft_flow[0];
  readonly #bytes: Buffer;
  readonly #view: DataView;
  #at = -FlowReader.recordSize;

  constructor(packed: Uint8Array) {
    this.#bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
    this.#view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  }
  /** Moves to the next record; false at the end. */
  next(): boolean {
    this.#at += FlowReader.recordSize;
    return this.#at < this.#bytes.length;
  }
  /** Equal for flows that differ in the client's port, their counts and times alone. */
  get sameness(): string {
    return this.#bytes.toString('latin1', this.#at + flowAt.live, this.#at + flowAt.live + liveAt.sport);
  }
  get clientPort(): number {
    return this.#view.getUint16(this.#at + flowAt.live + liveAt.sport, false);
  }
  get flags(): number {
    return this.#view.getUint32(this.#at + flowAt.live + liveAt.flags, little);
  }
  get bytesSent(): number {
    return this.#number(flowAt.live + liveAt.bytes);
  }
  get bytesReceived(): number {
    return this.#number(flowAt.live + liveAt.bytes + 8);
  }
  get bytesSpliced(): number {
    return this.#number(flowAt.live + liveAt.spliced) + this.#number(flowAt.live + liveAt.spliced + 8);
  }
  get durationMs(): number {
    return Math.floor((this.#number(0) - this.#number(flowAt.live + liveAt.started)) / 1e6);
  }
  /** The client socket's cookie. */
  get id(): number {
    return this.#number(flowAt.live + liveAt.cookie);
  }
  get live(): LiveEntry {
    return decodeLive(this.#bytes.subarray(this.#at + flowAt.live, this.#at + FlowReader.recordSize));
  }
  /** Exact below 2^53: bytes, nanoseconds since boot and socket cookies are. */
  #number(offset: number): number {
    const at = this.#at + offset;
    return this.#view.getUint32(at, little) + this.#view.getUint32(at + 4, little) * 2 ** 32;
  }
}
const flowAt = { live: structs.weft_flow[1].live[0] } as const;
const liveAt = {
  sport: structs.weft_live[1].sport[0],
  flags: structs.weft_live[1].flags[0],
  started: structs.weft_live[1].started[0],
  bytes: structs.weft_live[1].bytes[0],
  spliced: structs.weft_live[1].spliced[0],
  cookie: structs.weft_live[1].cookie[0],
} as const;
