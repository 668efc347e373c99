/**
 * The edges of the last 15 minutes, added up from reports in slots of 30 seconds. Their number is bounded, with a share for each reporter
 * and each namespace; what exceeds it is counted in edges whose other side is `other`. Nothing is kept on disk.
 */
import { createHash } from 'node:crypto';
import { FairLimit } from '../../src/base/fair-limit.js';
import {
  edgeKey,
  edgeSlotMs,
  edgesKeptMs,
  latencyBoundsMs,
  type Edge,
  type EdgeAnswer,
  type EdgeCounts,
  type EdgeQuery,
  type EdgeSlot,
} from '../../src/model/edge.js';
import { otherOf, type EdgeNames } from '../../src/telemetry/edge-table.js';

export const edgesMax = 10_000;
const othersMax = 256;
const slotsKept = edgesKeptMs / edgeSlotMs;
/** The current slot is one more. */
const ringSlots = slotsKept + 1;
const sweepMsMin = 1_000;
const sweepMs = 60_000;

/** Words of a slot: counts, then sums of two words each. Slots of edges with requests have the counts of latencies after them. */
const at = {
  connections: 0,
  refused: 1,
  audited: 2,
  requests: 3,
  failures: 4,
  sent: 5,
  received: 7,
} as const;
const connectionWords = 9;
const latencies = latencyBoundsMs.length + 1;
const requestWords = connectionWords + latencies;
const word = 2 ** 32;

/** One allocation per edge: an object per slot would take more than its counts. */
class Slots {
  lastSeenMs = 0;
  #words = new Uint32Array(ringSlots * connectionWords);
  #perSlot = connectionWords;
  /** The latest slot with counts. */
  #latest = 0;

  constructor(readonly names: EdgeNames) {}

  add(slot: number, counts: EdgeCounts, seenMs: number): void {
    this.lastSeenMs = Math.max(this.lastSeenMs, seenMs);
    if (counts.latencyCounts.length > 0 && this.#perSlot === connectionWords) this.#widen();
    for (let next = Math.max(this.#latest + 1, slot - slotsKept); next <= slot; next++) {
      const from = (next % ringSlots) * this.#perSlot;
      this.#words.fill(0, from, from + this.#perSlot);
    }
    this.#latest = Math.max(this.#latest, slot);
    const from = (slot % ringSlots) * this.#perSlot;
    for (const name of ['connections', 'refused', 'audited', 'requests', 'failures'] as const)
      this.#count(from + at[name], counts[name]);
    this.#sum(from + at.sent, counts.bytesSent);
    this.#sum(from + at.received, counts.bytesReceived);
    for (const [bucket, value] of counts.latencyCounts.entries())
      this.#count(from + connectionWords + bucket, value);
  }

  /** Makes room for latencies. */
  #widen(): void {
    const words = new Uint32Array(ringSlots * requestWords);
    for (let slot = 0; slot < ringSlots; slot++)
      words.set(
        this.#words.subarray(slot * connectionWords, (slot + 1) * connectionWords),
        slot * requestWords,
      );
    this.#words = words;
    this.#perSlot = requestWords;
  }

  /** A report may contain any number: counts stop at the greatest that fits. */
  #count(index: number, value: number): void {
    this.#words[index] = Math.min(word - 1, (this.#words[index] ?? 0) + value);
  }

  #sum(index: number, value: number): void {
    const sum = Math.min(Number.MAX_SAFE_INTEGER, this.#sumAt(index) + value);
    this.#words[index] = sum % word;
    this.#words[index + 1] = Math.floor(sum / word);
  }

  #sumAt(index: number): number {
    return (this.#words[index] ?? 0) + (this.#words[index + 1] ?? 0) * word;
  }

  /** The sum of the slots from `first`, of those that are kept. */
  counts(first: number, current: number): EdgeCounts {
    const sums = { connections: 0, refused: 0, audited: 0, requests: 0, failures: 0 };
    let bytesSent = 0;
    let bytesReceived = 0;
    const latencyCounts = this.#perSlot === requestWords ? new Array<number>(latencies).fill(0) : [];
    for (let slot = Math.max(first, current - slotsKept, 0); slot <= this.#latest; slot++) {
      const from = (slot % ringSlots) * this.#perSlot;
      for (const name of ['connections', 'refused', 'audited', 'requests', 'failures'] as const)
        sums[name] += this.#words[from + at[name]] ?? 0;
      bytesSent += this.#sumAt(from + at.sent);
      bytesReceived += this.#sumAt(from + at.received);
      for (let bucket = 0; bucket < latencyCounts.length; bucket++)
        latencyCounts[bucket] =
          (latencyCounts[bucket] ?? 0) + (this.#words[from + connectionWords + bucket] ?? 0);
    }
    return {
      ...sums,
      bytesSent: bounded(bytesSent),
      bytesReceived: bounded(bytesReceived),
      latencyCounts,
      lastSeenMs: this.lastSeenMs,
    };
  }

  /** The slots from `first` with counts, of those that are kept. */
  slots(first: number, current: number): EdgeSlot[] {
    const found: EdgeSlot[] = [];
    for (let slot = Math.max(first, current - slotsKept, 0); slot <= this.#latest; slot++) {
      const from = (slot % ringSlots) * this.#perSlot;
      const of = (name: keyof typeof at): number => this.#words[from + at[name]] ?? 0;
      const counts = {
        connections: of('connections'),
        requests: of('requests'),
        failures: of('failures'),
        refused: of('refused'),
      };
      if (Object.values(counts).some((count) => count > 0))
        found.push({ atMs: slot * edgeSlotMs, ...counts });
    }
    return found;
  }
}

/** A greater number could not be decoded by another replica, which would have none of the edges then. */
const bounded = (sum: number): number => Math.min(Number.MAX_SAFE_INTEGER, sum);

/** Much shorter than the names. Nobody finds two edges with one digest. */
const digestOf = (names: EdgeNames): string =>
  createHash('sha256').update(edgeKey(names)).digest('base64url');

interface Stored {
  readonly slots: Slots;
  readonly release: () => void;
}

export class EdgeStore {
  readonly #edges = new Map<string, Stored>();
  readonly #others = new Map<string, Stored>();
  readonly #shares: FairLimit;
  readonly #startedMs: number;
  #sweptMs = 0;

  /** `onLimit`: an edge was counted under `other`, or not at all. */
  constructor(
    private readonly onLimit: () => void,
    private readonly now: () => number = Date.now,
    max = edgesMax,
  ) {
    this.#shares = new FairLimit(max);
    this.#startedMs = now();
  }

  get size(): number {
    return this.#edges.size + this.#others.size;
  }

  /**
   * Adds a report's counts to the current slot.
   * @param reporter the authenticated caller
   * @param namespace whose share the edge uses: of the side that the reporter may speak for
   * @param ageMs how long ago the edge was last seen when it was reported
   */
  add({ counts, ...names }: Edge, reporter: string, namespace: string, ageMs: number): void {
    const nowMs = this.now();
    if (nowMs - this.#sweptMs >= sweepMs) this.#sweep(nowMs);
    const slots = this.#slotsOf(names, reporter, namespace, nowMs);
    slots?.add(
      Math.floor(nowMs / edgeSlotMs),
      counts,
      nowMs - (ageMs > 0 ? Math.min(ageMs, edgesKeptMs) : 0),
    );
  }

  #slotsOf(names: EdgeNames, reporter: string, namespace: string, nowMs: number): Slots | undefined {
    const key = digestOf(names);
    const stored = this.#edges.get(key);
    if (stored) return stored.slots;
    const member = `${namespace} ${reporter}`;
    if (!this.#take(member, namespace, nowMs)) {
      this.onLimit();
      return this.#otherOf(otherOf(names));
    }
    const slots = new Slots(names);
    this.#edges.set(key, { slots, release: () => this.#shares.release(member, namespace) });
    return slots;
  }

  #take(member: string, namespace: string, nowMs: number): boolean {
    if (this.#shares.take(member, namespace) === undefined) return true;
    if (nowMs - this.#sweptMs < sweepMsMin) return false;
    this.#sweep(nowMs);
    return this.#shares.take(member, namespace) === undefined;
  }

  #otherOf(names: EdgeNames): Slots | undefined {
    const key = digestOf(names);
    const stored = this.#others.get(key);
    if (stored) return stored.slots;
    if (this.#others.size >= othersMax) return undefined;
    const slots = new Slots(names);
    this.#others.set(key, { slots, release: () => undefined });
    return slots;
  }

  /** Forgets edges that were last seen before all slots. */
  #sweep(nowMs: number): void {
    this.#sweptMs = nowMs;
    for (const edges of [this.#edges, this.#others])
      for (const [key, { slots, release }] of edges) {
        if (nowMs - slots.lastSeenMs <= edgesKeptMs) continue;
        edges.delete(key);
        release();
      }
  }

  /** The edges that this replica has. Times are rounded to slots. */
  query({ namespace, sinceMs, isBySlot = false }: EdgeQuery): EdgeAnswer {
    const nowMs = this.now();
    const fromMs = Math.max(sinceMs, nowMs - edgesKeptMs);
    const first = Math.floor(fromMs / edgeSlotMs);
    const current = Math.floor(nowMs / edgeSlotMs);
    const edges: Edge[] = [];
    for (const stored of [this.#edges, this.#others])
      for (const { slots } of stored.values()) {
        const { names, lastSeenMs } = slots;
        if (lastSeenMs < fromMs) continue;
        if (
          namespace !== undefined &&
          names.source.namespace !== namespace &&
          names.destination.namespace !== namespace
        )
          continue;
        const counts = slots.counts(first, current);
        edges.push({
          ...names,
          counts: isBySlot ? { ...counts, slots: slots.slots(first, current) } : counts,
        });
      }
    return {
      edges,
      sinceMs: Math.max(this.#startedMs, nowMs - edgesKeptMs),
      missing: [],
      ...(isBySlot ? { isBySlot } : {}),
    };
  }
}
