/**
 * Sums over connections that share all labels, for connections that end too often to be looked up one by one. One instance per part of the
 * agent that counts; its sums are added to the metrics at every scrape.
 */
import { buckets, count, type Buckets } from './buckets.js';
import type { ConnectionRecord } from './connection-record.js';

/** Bounds of the histogram of lifetimes. */
export const durationBoundsS = [0.001, 0.01, 0.1, 1, 10, 60, 600, 3600];

export interface Tally {
  opened: number;
  closed: number;
  refused: number;
  bytesSent: number;
  bytesReceived: number;
  readonly durations: Buckets;
}

export class Tallies {
  readonly #records = new Map<Tally, ConnectionRecord>();

  /** `add`: adds the sums to the metrics and resets them. */
  constructor(private readonly add: (record: ConnectionRecord, tally: Tally) => void) {}

  get size(): number {
    return this.#records.size;
  }

  /** A tally for connections with the labels of `record`. */
  of(record: ConnectionRecord): Tally {
    const durations = buckets(durationBoundsS);
    const tally = { opened: 0, closed: 0, refused: 0, bytesSent: 0, bytesReceived: 0, durations };
    this.#records.set(tally, record);
    return tally;
  }

  settle(): void {
    for (const [tally, record] of this.#records) this.add(record, tally);
  }

  /** No connection follows. */
  remove(tally: Tally): void {
    const record = this.#records.get(tally);
    if (record && this.#records.delete(tally)) this.add(record, tally);
  }

  clear(): void {
    this.settle();
    this.#records.clear();
  }
}

export function closed(tally: Tally, bytesSent: number, bytesReceived: number, durationMs: number): void {
  tally.closed++;
  tally.bytesSent += bytesSent;
  tally.bytesReceived += bytesReceived;
  count(tally.durations, durationBoundsS, durationMs / 1000);
}
