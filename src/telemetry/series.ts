/**
 * A bounded table of a metric's series. Idle series are dropped, which also removes series of deleted workloads; a series that returns
 * starts at 0, which Prometheus treats as a counter reset. Each series belongs to a group (a namespace or a pair of namespaces), and in it to
 * a member (a workload). At the limit, a group that is smaller than the largest evicts a series of the largest, so that no group uses up
 * the series of others, and within the largest group the same holds for members.
 */
import type { Metric, Registry } from 'prom-client';
import type { Exemplar } from './openmetrics.js';

export type Labels = Readonly<Record<string, string | number>>;

/** Longer than Prometheus' lookback (5 min), so that the last increment has been scraped before the series is dropped. */
export const seriesIdleMsMax = 15 * 60_000;
/** Time until series of a workload that is gone are dropped: its last counts have been scraped, at usual intervals. */
export const seriesGoneMsMax = 2 * 60_000;
/** Minimum time between two sweeps at the limit: each sweep walks over all series. */
const sweepMsMin = 1_000;

export interface Series<T> {
  readonly labels: Labels;
  readonly value: T;
  readonly member: string;
  lastMs: number;
  /** Since when its workload is gone. */
  goneMs?: number | undefined;
  /** The series is no longer in the table: increments to it are lost. */
  isEvicted: boolean;
}

interface Group<T> {
  readonly series: Map<string, Series<T>>;
  /** Number of series of each member. */
  readonly members: Map<string, number>;
}

export class SeriesTable<T> {
  readonly #groups = new Map<string, Group<T>>();
  #size = 0;
  #sweptMs = 0;

  constructor(
    private readonly max: number,
    private readonly make: () => T,
    private readonly now: () => number = Date.now,
  ) {}

  get size(): number {
    return this.#size;
  }

  /**
   * Finds or creates the series. Undefined: the limit is reached, and this member or this group has used its share. `member`: the workload
   * whose share it uses; without members a group is one.
   */
  of(group: string, labels: Labels, member = ''): Series<T> | undefined {
    const now = this.now();
    const key = Object.values(labels).join('\0');
    let series = this.#groups.get(group)?.series.get(key);
    if (!series) {
      if (this.#size >= this.max && now - this.#sweptMs >= sweepMsMin) this.sweep();
      if (this.#size >= this.max && !this.#makeRoom(group, member)) return undefined;
      series = { labels, value: this.make(), member, lastMs: now, isEvicted: false };
      let into = this.#groups.get(group);
      if (!into) this.#groups.set(group, (into = { series: new Map(), members: new Map() }));
      into.series.set(key, series);
      into.members.set(member, (into.members.get(member) ?? 0) + 1);
      this.#size++;
    }
    series.lastMs = now;
    return series;
  }

  /** Drops idle series, and those whose workload has been gone for a while. Called at each scrape. `isGone` absent: it is not known which are gone. */
  sweep(isGone?: (labels: Labels) => boolean): void {
    const now = (this.#sweptMs = this.now());
    for (const [group, { series: all }] of this.#groups)
      for (const [key, series] of all) {
        // Connections of a workload that is gone may still end, and are counted.
        if (isGone) series.goneMs = isGone(series.labels) ? (series.goneMs ?? now) : undefined;
        const isOld = now - series.lastMs > seriesIdleMsMax;
        const isGoneLong = isGone !== undefined && now - (series.goneMs ?? now) > seriesGoneMsMax;
        if (isOld || isGoneLong) this.#drop(group, key);
      }
  }

  *[Symbol.iterator](): Iterator<Series<T>> {
    for (const { series } of this.#groups.values()) yield* series.values();
  }

  /**
   * Evicts the oldest series of the largest group, if that group then remains no smaller than the asking group will be. If the asking group
   * is the largest, it evicts one of its own largest member, by the same rule for members.
   */
  #makeRoom(group: string, member: string): boolean {
    const asking = this.#groups.get(group);
    const [name, largest] = largestOf(this.#groups, ({ series }) => series.size) ?? [];
    if (name === undefined || !largest) return false;
    if (largest.series.size > (asking?.series.size ?? 0) + 1)
      return this.#dropOldest(name, largestMember(largest));
    if (!asking) return false;
    const [other, size] = largestOf(asking.members, (count) => count) ?? [];
    if (other === undefined || (size ?? 0) <= (asking.members.get(member) ?? 0) + 1) return false;
    return this.#dropOldest(group, other);
  }

  #dropOldest(group: string, member: string): boolean {
    let oldest: [string, Series<T>] | undefined;
    for (const one of this.#groups.get(group)?.series ?? [])
      if (one[1].member === member && (!oldest || one[1].lastMs < oldest[1].lastMs)) oldest = one;
    if (oldest) this.#drop(group, oldest[0]);
    return oldest !== undefined;
  }

  #drop(group: string, key: string): void {
    const from = this.#groups.get(group);
    const series = from?.series.get(key);
    if (!from || !series) return;
    series.isEvicted = true;
    from.series.delete(key);
    const left = (from.members.get(series.member) ?? 1) - 1;
    if (left > 0) from.members.set(series.member, left);
    else from.members.delete(series.member);
    this.#size--;
    if (from.series.size === 0) this.#groups.delete(group);
  }
}

/** The entry with the largest size. */
function largestOf<V>(
  entries: ReadonlyMap<string, V>,
  sizeOf: (value: V) => number,
): [string, V] | undefined {
  let largest: [string, V] | undefined;
  for (const one of entries) if (!largest || sizeOf(one[1]) > sizeOf(largest[1])) largest = one;
  return largest;
}
const largestMember = ({ members }: Group<unknown>): string =>
  largestOf(members, (count) => count)?.[0] ?? '';

export interface Value {
  readonly value: number;
  readonly labels: Labels;
  readonly metricName?: string;
  readonly exemplar?: Exemplar | undefined;
}

/**
 * Registers a metric whose values are kept outside of prom-client: its counting by labels is too expensive for each request and never
 * forgets a label set.
 */
export function registerMetric(
  registry: Registry,
  metric: {
    readonly name: string;
    readonly help: string;
    readonly type: 'counter' | 'gauge' | 'histogram';
    /** How the values of several processes become one. Default: their sum. */
    readonly aggregator?: 'sum' | 'max' | 'min' | 'average';
    /** Absent: the labels are treated as identifying (exposition.ts). */
    readonly labelNames?: readonly string[];
  },
  values: () => Value[],
): void {
  const { name, help, type, aggregator = 'sum', labelNames } = metric;
  registry.registerMetric({
    name,
    help,
    aggregator,
    ...(labelNames ? { labelNames } : {}),
    get: () => Promise.resolve({ name, help, type, aggregator, values: values() }),
    reset: () => undefined,
  } as unknown as Metric);
}

/** A counter whose labels depend on names or actions of tenants. Increments beyond the limit are counted under `other`. */
export class BoundedCounter<L extends string> {
  readonly #table: SeriesTable<{ count: number }>;
  #other = 0;

  constructor(
    registry: Registry,
    metric: { readonly name: string; readonly help: string; readonly labelNames: readonly L[] },
    max: number,
    private readonly onOverflow: () => void,
    now?: () => number,
  ) {
    this.#table = new SeriesTable(max, () => ({ count: 0 }), now);
    const { name, help, labelNames } = metric;
    const other = Object.fromEntries(labelNames.map((label) => [label, 'other']));
    registerMetric(registry, { name, help, type: 'counter' }, () => {
      this.#table.sweep();
      const values: Value[] = [...this.#table].map(({ labels, value }) => ({ labels, value: value.count }));
      return this.#other > 0 ? [...values, { labels: other, value: this.#other }] : values;
    });
  }

  /** `group`: whose share of the limit the series uses, usually a namespace. */
  inc(group: string, labels: Readonly<Record<L, string>>, by = 1): void {
    const series = this.#table.of(group, labels);
    if (series) series.value.count += by;
    else {
      this.#other += by;
      this.onOverflow();
    }
  }
}
