/**
 * The last changes of objects that changed what is served, and who acknowledged them. Pure. What changed together is sent together, in a batch.
 * Deliveries are numbered; a receiver that acknowledges a delivery of a type has all earlier ones of that type, too.
 */
import type { Change, ChangeOrigin } from '../../src/model/change.js';

/** An object that changed. */
export type Cause = Pick<Change, 'kind' | 'namespace' | 'name' | 'operation'> & ChangeOrigin;

export interface ChangeLimits {
  /** Changes that are kept. */
  readonly changesMax: number;
  /** Receivers of all batches that are listed by name. */
  readonly receiversMax: number;
}
export const changeLimits: ChangeLimits = { changesMax: 1_000, receiversMax: 100_000 };
const refusalCharsMax = 200;

interface Batch {
  readonly timeMs: number;
  resources: number;
  /** Changes of the batch that are still kept. */
  kept: number;
  /** Time of the acknowledgment by receiver; undefined: it waits. */
  readonly receivers: Map<string, number | undefined>;
  readonly refusals: Map<string, string>;
  /** Receivers that are no longer listed. */
  readonly omitted: { acknowledged: number; waiting: number };
}
interface Entry {
  readonly cause: Cause;
  readonly batch: Batch;
}
/** Changes of one namespace, by kind, the oldest first. */
interface Group {
  size: number;
  readonly kinds: Map<string, Entry[]>;
}
/** What a receiver has not acknowledged of a batch: the last delivery of each type. */
type Waiting = Map<Batch, Map<string, number>>;

export class ChangeLog {
  readonly #groups = new Map<string, Group>();
  readonly #waiting = new Map<string, Waiting>();
  /** Batches whose receivers are listed, the oldest first. */
  readonly #listed = new Set<Batch>();
  #last: Batch | undefined;
  /** The batch of the current delivery; undefined: nothing that a user changed. */
  #current: Batch | undefined;
  #deliveries = 0;
  #size = 0;
  #receivers = 0;

  /** @param onLimit a change was forgotten for a newer one */
  constructor(
    private readonly onLimit: () => void,
    private readonly limits: ChangeLimits = changeLimits,
  ) {}

  get size(): number {
    return this.#size;
  }

  /** The number of the last delivery. A full response has everything of it. */
  get delivery(): number {
    return this.#deliveries;
  }

  /**
   * Records changes that are about to be sent.
   * @param causes `rest`: the rest of the last batch, which was compiled in a later turn
   * @param resources how many were updated or removed
   */
  record(causes: readonly Cause[] | 'rest', resources: number, timeMs: number): void {
    this.#deliveries++;
    this.#current = causes === 'rest' ? this.#last : undefined;
    if (causes === 'rest') {
      if (this.#last) this.#last.resources += resources;
      return;
    }
    if (causes.length === 0) return;
    const batch: Batch = {
      timeMs,
      resources,
      kept: 0,
      receivers: new Map(),
      refusals: new Map(),
      omitted: { acknowledged: 0, waiting: 0 },
    };
    this.#last = this.#current = batch;
    for (const cause of causes) {
      const group: Group = this.#groups.get(groupOf(cause)) ?? { size: 0, kinds: new Map() };
      this.#groups.set(groupOf(cause), group);
      const entries = group.kinds.get(cause.kind) ?? [];
      group.kinds.set(cause.kind, entries);
      entries.push({ cause, batch });
      group.size++;
      batch.kept++;
      this.#size++;
      if (this.#size > this.limits.changesMax) this.#forgetOne();
    }
  }

  /** The last delivery is sent to a receiver, or will be. */
  sent(receiver: string, typeUrl: string): void {
    const batch = this.#current;
    // All changes of the batch may have been forgotten already.
    if (!batch || batch.kept === 0) return;
    if (!batch.receivers.has(receiver)) this.#receivers++;
    batch.receivers.set(receiver, undefined);
    this.#listed.add(batch);
    const waiting: Waiting = this.#waiting.get(receiver) ?? new Map();
    this.#waiting.set(receiver, waiting);
    const types = waiting.get(batch) ?? new Map<string, number>();
    waiting.set(batch, types);
    types.set(typeUrl, this.#deliveries);
    if (this.#receivers > this.limits.receiversMax) this.#omitReceivers();
  }

  /** A receiver has all deliveries of a type up to this one. `refusal`: why it did not accept a resource. */
  acknowledged(receiver: string, typeUrl: string, delivery: number, timeMs: number, refusal?: string): void {
    const waiting = this.#waiting.get(receiver);
    if (!waiting) return;
    for (const [batch, types] of waiting) {
      const needed = types.get(typeUrl);
      if (needed === undefined || needed > delivery) continue;
      if (refusal !== undefined) batch.refusals.set(receiver, refusal.slice(0, refusalCharsMax));
      types.delete(typeUrl);
      if (types.size > 0) continue;
      batch.receivers.set(receiver, timeMs);
      waiting.delete(batch);
    }
    if (waiting.size === 0) this.#waiting.delete(receiver);
  }

  /** A receiver has ended and will not come back under this name. */
  gone(receiver: string): void {
    for (const batch of this.#waiting.get(receiver)?.keys() ?? [])
      if (batch.receivers.delete(receiver)) this.#receivers--;
    this.#waiting.delete(receiver);
  }

  /** Changes since a time, the oldest first. `namespace`: of its objects, and of the Namespace itself. */
  changes(sinceMs: number, namespace?: string): Change[] {
    const groups = namespace === undefined ? [...this.#groups.values()] : [this.#groups.get(namespace)];
    return groups
      .flatMap((group) => [...(group?.kinds.values() ?? [])].flat())
      .filter(({ batch }) => batch.timeMs >= sinceMs)
      .map(({ cause, batch }) => ({
        ...cause,
        timeMs: batch.timeMs,
        resources: batch.resources,
        receivers: [...batch.receivers].map(([name, acknowledgedMs]) => {
          const refused = batch.refusals.get(name);
          return {
            name,
            ...(acknowledgedMs === undefined ? {} : { acknowledgedMs }),
            ...(refused === undefined ? {} : { refused }),
          };
        }),
        ...(batch.omitted.acknowledged + batch.omitted.waiting === 0
          ? {}
          : { omitted: { ...batch.omitted } }),
      }))
      .sort((a, b) => a.timeMs - b.timeMs);
  }

  /**
   * Forgets the oldest change of the most frequent kind in the namespace with the most changes: no namespace pushes out the changes of another
   * one that has fewer, and no deployment of many pods those of its policies.
   */
  #forgetOne(): void {
    const [namespace, group] = largest(this.#groups, ({ size }) => size);
    const [kind, entries] = largest(group.kinds, ({ length }) => length);
    const { batch } = entries.shift() as Entry;
    if (entries.length === 0) group.kinds.delete(kind);
    if (--group.size === 0) this.#groups.delete(namespace);
    this.#size--;
    if (--batch.kept === 0) this.#unlist(batch);
    this.onLimit();
  }

  /** Keeps of the oldest batches only how many had acknowledged. */
  #omitReceivers(): void {
    for (const batch of this.#listed) {
      if (this.#receivers <= this.limits.receiversMax) return;
      for (const acknowledgedMs of batch.receivers.values())
        if (acknowledgedMs === undefined) batch.omitted.waiting++;
        else batch.omitted.acknowledged++;
      this.#unlist(batch);
    }
  }

  #unlist(batch: Batch): void {
    this.#listed.delete(batch);
    this.#receivers -= batch.receivers.size;
    for (const [receiver, acknowledgedMs] of batch.receivers) {
      if (acknowledgedMs !== undefined) continue;
      const waiting = this.#waiting.get(receiver);
      if (waiting?.delete(batch) && waiting.size === 0) this.#waiting.delete(receiver);
    }
    batch.receivers.clear();
    batch.refusals.clear();
  }
}

/** A Namespace counts for itself. */
const groupOf = ({ kind, namespace, name }: Cause): string => (kind === 'Namespace' ? name : namespace);

function largest<T>(all: ReadonlyMap<string, T>, sizeOf: (one: T) => number): [string, T] {
  let found: [string, T] | undefined;
  let max = -1;
  for (const [key, one] of all) {
    const size = sizeOf(one);
    if (size > max) [found, max] = [[key, one], size];
  }
  if (!found) throw new Error('there is none');
  return found;
}
