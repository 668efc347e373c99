/** Series of metrics about connections. Those of label sets beyond the limit are counted under the label values `other`, by reporter. */
import type { Opening } from './connection-record.js';
import { SeriesTable, type Labels } from './series.js';

/** The group whose share of the limit a series uses: the pair of namespaces, so that no traffic displaces the series of others. */
export const groupOf = ({ source, destination }: Opening): string =>
  `${source.namespace} ${destination.namespace}`;

interface One<T> {
  readonly labels: Labels;
  readonly value: T;
}

export class ConnectionSeries<T> {
  readonly #table: SeriesTable<T>;
  readonly #others = new Map<string, One<T>>();

  /** `onOverflow`: something was counted under `other`. */
  constructor(
    max: number,
    private readonly make: () => T,
    private readonly onOverflow: () => void,
    now: () => number,
  ) {
    this.#table = new SeriesTable(max, make, now);
  }

  /** What counts for a connection with these labels, of which `reporter` is one. Within its group each client workload has a share. */
  of(record: Opening, labels: Labels): T {
    const { namespace, workload } = record.source;
    const series = this.#table.of(groupOf(record), labels, `${namespace}/${workload}`);
    if (series) return series.value;
    this.onOverflow();
    const reporter = String(labels['reporter']);
    let other = this.#others.get(reporter);
    if (!other) {
      const names = Object.keys(labels).map((name) => [name, name === 'reporter' ? reporter : 'other']);
      this.#others.set(
        reporter,
        (other = { labels: Object.fromEntries(names) as Labels, value: this.make() }),
      );
    }
    return other.value;
  }

  /** As of SeriesTable. */
  sweep(isGone?: (labels: Labels) => boolean): void {
    this.#table.sweep(isGone);
  }

  *[Symbol.iterator](): Iterator<One<T>> {
    yield* this.#table;
    yield* this.#others.values();
  }
}
