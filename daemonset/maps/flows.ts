/** weft_flows: kernel flows that ended, reported by the programs. */
import type { PinnedMaps } from './pinned.js';
import { poll } from './poll.js';
import { little } from './row.js';
import { LiveRow, structs } from './rows.generated.js';

export const flowsPerTurnMax = 8192;
const turnMs = 50;

/**
 * Reads concatenated flow records in place. Most records are equal to the one before except for a few fields, so only these fields are
 * decoded for each record.
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
  /** Equal for flows that differ only in the client's port, counts and times. */
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
  get live(): LiveRow {
    return new LiveRow(this.#bytes.subarray(this.#at + flowAt.live, this.#at + FlowReader.recordSize));
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

/** Polls the ring every 50 ms (poll.ts) until the returned function is called. The programs count flows that do not fit as `events-lost`. */
export function watchFlows(
  datapath: { readonly maps: PinnedMaps; drainFormer(onFlows: (flows: FlowReader) => void): void },
  onFlows: (flows: FlowReader) => void,
): () => void {
  const ring = datapath.maps.ring('weft_flows');
  const drain = (): boolean => {
    const packed = ring.drainPacked(flowsPerTurnMax, FlowReader.recordSize);
    let isEmpty = packed.length === 0;
    if (!isEmpty) onFlows(new FlowReader(packed));
    datapath.drainFormer((flows) => {
      isEmpty = false;
      onFlows(flows);
    });
    return !isEmpty;
  };
  const stop = poll(drain, turnMs);
  return () => {
    stop();
    drain();
    ring.close();
  };
}
