/**
 * The buckets of one limit in one worker: one for each combination of key values. Clients choose values, so their number is bounded, and each
 * client has a share. A client beyond its share has one bucket for all further values: it takes no bucket from others, and gets no more
 * tokens by inventing values.
 */
import { FairLimit } from '../../base/fair-limit.js';
import type { Client } from '../listener/client.js';
import { ownRow, type BucketRow, type BucketRows } from './bucket-rows.js';
import { BucketTime, type Rate } from './gcra.js';

type Owner = Pick<Client, 'name' | 'group'>;

/** Clients beyond their shares that have a bucket of their own. The others share one. */
const overflowsMax = 4_096;
/** A full bucket means the same as none. It is kept this long, because its next request would make it again. */
const fullNsMax = 10e9;
/** Buckets that are looked at to make room for one. */
const stepsPerBucket = 2;
const stepsAtLimit = 16;

/** One object with its time: with many keys each further object is a miss of the CPU's cache. */
class Bucket extends BucketTime {
  /** Whose share it takes; undefined: nobody's, since another worker made the bucket. */
  owner: Owner | undefined;

  constructor(
    /** Undefined: a row of this process alone. */
    readonly row: BucketRow | undefined,
  ) {
    const { words, at } = row ?? ownRow();
    super(words, at);
  }
}

/** Shares of the buckets that this worker makes. */
export interface AllBuckets {
  readonly rows: BucketRows;
  /** A monotonic clock that all workers share. */
  nowNs(): number;
  /** By limit, and by the namespace of its Service. */
  readonly shares: FairLimit;
  /** A client is beyond its share. */
  onShareUsed(): void;
}

export class LimitBuckets {
  /** Requests, as Envoy counts them. */
  readonly counts = { enabled: 0, ok: 0, rateLimited: 0, enforced: 0 };
  /** The limit was not used for long, and its buckets are gone: look it up again. */
  isForgotten = false;
  /** It was used since the last sweep. */
  isUsed = true;
  /** The last sweep that found it used. */
  idleSinceNs = 0;
  /** Ordered by the time at which they were made or last looked at. */
  readonly #buckets = new Map<string, Bucket>();
  readonly #overflows = new Map<string, Bucket>();
  readonly #clients: FairLimit;

  constructor(
    private readonly all: AllBuckets,
    /** Unique, and the same in all workers. */
    private readonly name: string,
    /** The namespace of the Service. */
    private readonly namespace: string,
    /** Buckets that this worker makes. One client makes at most half of them, one namespace two thirds. */
    bucketsMax: number,
  ) {
    this.#clients = new FairLimit(bucketsMax);
  }

  get size(): number {
    return this.#buckets.size + this.#overflows.size;
  }

  /** Takes a token of the key's bucket. 0: taken. Otherwise the nanoseconds until there is one. */
  take(key: string, client: Owner, rate: Rate): number {
    const { nowNs } = this.all;
    const bucket = this.#buckets.get(key) ?? this.#make(key, client, nowNs());
    this.isUsed = true;
    return bucket.take(nowNs, rate);
  }

  /** Drops buckets that have been full for long. Looks at `steps` of them. */
  sweep(nowNs: number, steps: number): void {
    this.#dropFull(nowNs - fullNsMax, steps);
    if (this.#overflows.size === 0) return;
    for (const [key, bucket] of this.#overflows)
      if (bucket.fullNs <= nowNs - fullNsMax) {
        this.#overflows.delete(key);
        this.#release(bucket, nowNs);
      }
  }

  /** Releases all buckets. Those that are not full are kept for other workers, and for a limit of the same name. */
  forget(nowNs: number): void {
    this.isForgotten = true;
    for (const buckets of [this.#buckets, this.#overflows]) {
      for (const bucket of buckets.values()) this.#release(bucket, nowNs);
      buckets.clear();
    }
  }

  #make(key: string, client: Owner, nowNs: number): Bucket {
    this.#dropFull(nowNs - fullNsMax, stepsPerBucket);
    let hasShare = this.#takeShare(client);
    if (!hasShare) {
      this.#dropFull(nowNs, stepsAtLimit);
      hasShare = this.#takeShare(client);
    }
    const text = detached(key);
    const row = this.all.rows.hold(`${this.name} =${text}`, hasShare);
    if (!row && !hasShare) return this.#overflow(client);
    const bucket = new Bucket(row);
    const { name, group } = client;
    // If another worker made the bucket, that worker's share counts.
    const isNew = bucket.fullNs === 0;
    if (hasShare && !isNew) this.#releaseShare(client);
    if (hasShare && isNew) bucket.owner = { name, group };
    this.#buckets.set(text, bucket);
    return bucket;
  }

  #overflow({ name }: Owner): Bucket {
    this.all.onShareUsed();
    const key = this.#overflows.size < overflowsMax || this.#overflows.has(name) ? name : '';
    let bucket = this.#overflows.get(key);
    if (!bucket) {
      const row = this.all.rows.hold(`${this.name} +${key}`);
      this.#overflows.set(key, (bucket = new Bucket(row)));
    }
    return bucket;
  }

  #takeShare({ name, group }: Owner): boolean {
    if (this.#clients.take(name, group) !== undefined) return false;
    if (this.all.shares.take(this.name, this.namespace) === undefined) return true;
    this.#clients.release(name, group);
    return false;
  }

  /** Drops those of the oldest buckets that were full at a time. The others go to the end of the order. */
  #dropFull(beforeNs: number, steps: number): void {
    let left = Math.min(steps, this.#buckets.size);
    for (const [key, bucket] of this.#buckets) {
      if (left-- <= 0) return;
      this.#buckets.delete(key);
      if (bucket.fullNs <= beforeNs) this.#release(bucket, beforeNs);
      else this.#buckets.set(key, bucket.row ? bucket : this.#shared(key, bucket));
    }
  }

  /** A bucket that found no room, or waited in vain for its place, joins the one that another worker has made since. */
  #shared(key: string, own: Bucket): Bucket {
    const row = this.all.rows.hold(`${this.name} =${key}`, false);
    if (!row) return own;
    const shared = new Bucket(row);
    shared.raise(own.fullNs);
    if (own.owner) this.#releaseShare(own.owner);
    return shared;
  }

  #release({ row, fullNs, owner }: Bucket, nowNs: number): void {
    if (row) this.all.rows.release(row, Math.max(0, Math.ceil((fullNs - nowNs) / 1e6)));
    if (owner) this.#releaseShare(owner);
  }

  #releaseShare({ name, group }: Owner): void {
    this.#clients.release(name, group);
    this.all.shares.release(this.name, this.namespace);
  }
}

/** A copy: a key that is part of a request's head would keep all of it in memory. */
const detached = (text: string): string => Buffer.from(text).toString();
