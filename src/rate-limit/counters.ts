/**
 * Counts hits of keys in Redis. Keys of one turn of the event loop, and those that come while a call is under way, go in one call. Callers
 * take turns in a batch, so a caller with many keys delays only itself.
 */
import { createHash } from 'node:crypto';
import { errorText } from '../base/errors.js';
import { FairLimit } from '../base/fair-limit.js';
import { countScript, countScriptSha } from './script.js';

export const counterLimits = {
  /** Keys of one call to Redis: Redis does nothing else while a script runs, for this many keys some 2 ms. */
  batchKeysMax: 512,
  /** Keys that wait or are under way, of all callers. */
  waitingKeysMax: 65_536,
  /**
   * Counters that one caller may make within one window, so that it does not fill Redis' memory. Its clients share them fairly. A sixteenth of
   * this number is added for clients beyond their shares, which have one counter for all further values of a limit.
   */
  countersPerCallerMax: 100_000,
} as const;

/** Who counts: a waypoint's namespace and service account. It is part of every key in Redis. */
export interface CounterOwner {
  readonly namespace: string;
  readonly serviceAccount: string;
}

export interface Asked {
  /** Identifies the counter among those of its owner. */
  readonly key: string;
  readonly limit: number;
  readonly hits: number;
  readonly unitMs: number;
  /** The client whose request needs the counter, and its namespace. They have shares of the owner's counters. */
  readonly client: string;
  readonly group: string;
  /** Identifies the limit among those of the owner. */
  readonly limitKey: string;
}

/** `full`: the caller has as many counters, or as many keys that wait, as it may have. */
export type Counted =
  | {
      readonly kind: 'counted';
      readonly granted: number;
      readonly left: number;
      readonly resetMs: number;
      /** The client is beyond its share: this is the counter of all its further values. */
      readonly isRest: boolean;
    }
  | { readonly kind: 'full'; readonly limit: 'rate-limit-counters' | 'rate-limit-waiting' }
  | { readonly kind: 'failed'; readonly why: string };

interface Waiting extends Asked {
  readonly owner: string;
  readonly namespace: string;
  readonly resolve: (counted: Counted) => void;
}

interface CountersOptions {
  /** Sends a command to Redis. Rejects with its error. */
  readonly call: (command: readonly string[]) => Promise<unknown>;
  readonly onBatch?: (keys: number, seconds: number, ok: boolean) => void;
  readonly limits?: Partial<Record<keyof typeof counterLimits, number>>;
}

/** The names of keys in Redis begin with this. */
const keyPrefix = 'weft-rate-limit';

export class Counters {
  readonly #limits: Record<keyof typeof counterLimits, number>;
  /** Keys that wait, by owner. */
  readonly #queues = new Map<string, Waiting[]>();
  readonly #shares: FairLimit;
  #underway = false;

  constructor(private readonly options: CountersOptions) {
    this.#limits = { ...counterLimits, ...options.limits };
    this.#shares = new FairLimit(this.#limits.waitingKeysMax);
  }

  /** Keys that wait or are under way. */
  get size(): number {
    return this.#shares.size;
  }

  /** Counts the hits of one key, and never rejects. */
  count({ namespace, serviceAccount }: CounterOwner, asked: Asked): Promise<Counted> {
    const owner = `${namespace}/${serviceAccount}`;
    if (this.#shares.take(owner, namespace) !== undefined)
      return Promise.resolve({ kind: 'full', limit: 'rate-limit-waiting' });
    return new Promise((resolve) => {
      const waiting = { ...asked, owner, namespace, resolve };
      const queue = this.#queues.get(owner);
      if (queue) queue.push(waiting);
      else this.#queues.set(owner, [waiting]);
      if (this.#underway) return;
      this.#underway = true;
      setImmediate(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#queues.size > 0) {
      const batch = this.#take();
      const startMs = performance.now();
      let counted: readonly Counted[];
      let ok = true;
      try {
        counted = readCounted(await this.#call(batch), batch.length);
      } catch (error) {
        ok = false;
        const why = errorText(error);
        counted = batch.map(() => ({ kind: 'failed', why }));
      }
      this.options.onBatch?.(batch.length, (performance.now() - startMs) / 1000, ok);
      batch.forEach(({ owner, namespace, resolve }, i) => {
        this.#shares.release(owner, namespace);
        resolve(counted[i] ?? { kind: 'failed', why: 'Redis sent an incomplete reply' });
      });
    }
    this.#underway = false;
  }

  /** Takes the next batch: one key of each owner in turn. */
  #take(): Waiting[] {
    const batch: Waiting[] = [];
    while (this.#queues.size > 0 && batch.length < this.#limits.batchKeysMax)
      for (const [owner, queue] of this.#queues) {
        const next = queue.shift();
        if (next) batch.push(next);
        // The owner moves to the end, so that the next batch begins with another one.
        this.#queues.delete(owner);
        if (queue.length > 0) this.#queues.set(owner, queue);
        if (batch.length >= this.#limits.batchKeysMax) break;
      }
    return batch;
  }

  async #call(batch: readonly Waiting[]): Promise<unknown> {
    const keys: string[] = [];
    const values: string[] = [];
    const max = String(this.#limits.countersPerCallerMax);
    // Many keys of a batch have the same client and limit.
    const known = new Map<string, string>();
    const digestOnce = (text: string): string => {
      let digest = known.get(text);
      if (digest === undefined) known.set(text, (digest = digestOf(text)));
      return digest;
    };
    for (const { owner, key, limit, hits, unitMs, client, group, limitKey } of batch) {
      keys.push(
        `${keyPrefix}:${owner}:${unitMs}:${digestOf(key)}`,
        `${keyPrefix}:${owner}:counters:${unitMs}`,
      );
      const rest = digestOnce(JSON.stringify([limitKey, client]));
      values.push(String(limit), String(hits), String(unitMs), max);
      values.push(digestOnce(client), digestOnce(group), rest);
    }
    const rest = [String(keys.length), ...keys, ...values];
    try {
      return await this.options.call(['EVALSHA', countScriptSha, ...rest]);
    } catch (error) {
      // A server that was restarted does not have the script. EVAL keeps it.
      if (!errorText(error).includes('NOSCRIPT')) throw error;
      return this.options.call(['EVAL', countScript, ...rest]);
    }
  }
}

/** The key is a digest: Redis does not learn the values of headers, and their length does not matter. */
const digestOf = (key: string): string => createHash('sha256').update(key).digest('base64url').slice(0, 22);

/** Reads the script's reply. Error: it has another form. */
function readCounted(reply: unknown, count: number): Counted[] {
  if (!Array.isArray(reply) || reply.length !== 4 * count || !reply.every(Number.isFinite))
    throw new Error('Redis sent a reply of an unknown form');
  const numbers = reply as number[];
  return Array.from({ length: count }, (_, i) => {
    const [granted = 0, left = 0, resetMs = 0, isRest = 0] = numbers.slice(4 * i, 4 * i + 4);
    return granted < 0
      ? { kind: 'full', limit: 'rate-limit-counters' }
      : { kind: 'counted', granted, left, resetMs, isRest: isRest === 1 };
  });
}
