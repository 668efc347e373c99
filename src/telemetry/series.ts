/**
 * A bounded table of a metric's series. Idle series are dropped, which also removes series of deleted workloads; a series that returns
 * starts at 0, which Prometheus treats as a counter reset. Each series belongs to a group (a namespace or a pair of namespaces). At the
 * limit, a group that is smaller than the largest evicts a series of the largest, so that no group uses up the series of others.
 */
import type { Metric, Registry } from 'prom-client';
import type { Exemplar } from './openmetrics.js';

export type Labels = Readonly<Record<string, string | number>>;

/** Longer than Prometheus' lookback (5 min), so that the last increment has been scraped before the series is dropped. */
export const seriesIdleMsMax = 15 * 60_000;
/** Minimum time between two sweeps at the limit: each sweep walks over all series. */
const sweepMsMin = 1_000;

export interface Series<T> {
  readonly labels: Labels;
  readonly value: T;
  lastMs: number;
  /** The series is no longer in the table: increments to it are lost. */
  isEvicted: boolean;
}

export class SeriesTable<T> {
  readonly #groups = new Map<string, Map<string, Series<T>>>();
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

  /** Finds or creates the series. Undefined: the limit is reached and this group has used its share. */
  of(group: string, labels: Labels): Series<T> | undefined {
    const now = this.now();
    const key = Object.values(labels).join('\0');
    let series = this.#groups.get(group)?.get(key);
    if (!series) {
      if (this.#size >= this.max && now - this.#sweptMs >= sweepMsMin) this.sweep();
      if (this.#size >= this.max && !this.#makeRoom(this.#groups.get(group)?.size ?? 0)) return undefined;
      series = { labels, value: this.make(), lastMs: now, isEvicted: false };
      let members = this.#groups.get(group);
      if (!members) this.#groups.set(group, (members = new Map()));
      members.set(key, series);
      this.#size++;
    }
    series.lastMs = now;
    return series;
  }

  /** Drops idle series. Called at each scrape. */
  sweep(): void {
    const now = (this.#sweptMs = this.now());
    for (const [group, members] of this.#groups)
      for (const [key, series] of members) if (now - series.lastMs > seriesIdleMsMax) this.#drop(group, key);
  }

  *[Symbol.iterator](): Iterator<Series<T>> {
    for (const members of this.#groups.values()) yield* members.values();
  }

  /** Evicts the oldest series of the largest group, if that group then remains no smaller than the asking group will be. */
  #makeRoom(asking: number): boolean {
    let largest: [string, Map<string, Series<T>>] | undefined;
    for (const one of this.#groups) if (!largest || one[1].size > largest[1].size) largest = one;
    if (!largest || largest[1].size <= asking + 1) return false;
    let oldest: [string, Series<T>] | undefined;
    for (const one of largest[1]) if (!oldest || one[1].lastMs < oldest[1].lastMs) oldest = one;
    if (oldest) this.#drop(largest[0], oldest[0]);
    return oldest !== undefined;
  }

  #drop(group: string, key: string): void {
    const members = this.#groups.get(group);
    const series = members?.get(key);
    if (!members || !series) return;
    series.isEvicted = true;
    members.delete(key);
    this.#size--;
    if (members.size === 0) this.#groups.delete(group);
  }
}

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
