/** A plot as data: plots.ts makes it from a result, draw.ts draws it. */
import type { Spread } from '../harness/statistics.js';
import type { Placement } from '../result/result.js';

/** A value of one variant at one position of the x axis. */
export interface Dot {
  readonly at: number;
  readonly value: Spread;
  /** Ratio to no mesh. */
  readonly ratio?: Spread;
  readonly rounds: number;
}

export interface Series {
  /** A variant's name. */
  readonly variant: string;
  readonly title: string;
  readonly dots: readonly Dot[];
  /** Positions at which the variant did not reach the rate. The plot marks them without a value. */
  readonly short: readonly number[];
}

/** The parts of a stacked bar. The first part begins at zero. */
export interface Part {
  readonly title: string;
  /** Values of each series, in its order. Undefined if a variant has none. */
  readonly values: readonly (Spread | undefined)[];
}

export interface Plot {
  /** Also the name of the file: letters, digits and dashes. */
  readonly name: string;
  readonly placement: Placement;
  readonly topic: 'overview' | 'load' | 'latency' | 'throughput' | 'cpu' | 'memory' | 'cost';
  readonly title: string;
  readonly subtitle: string;
  /**
   * `line`: connected dots. `dots`: side by side above each name. `bars`: side by side, from zero. `rows`: one horizontal bar per
   * variant. `ratios`: one row per name, with a dot per variant.
   */
  readonly shape: 'line' | 'dots' | 'bars' | 'rows' | 'ratios';
  readonly x: { readonly title: string; readonly names?: readonly string[] };
  readonly y: { readonly title: string; readonly unit: string; readonly log: boolean };
  readonly series: readonly Series[];
  /** Parts of stacked bars. `series` holds their sums. */
  readonly parts?: readonly Part[];
  /** The range in which a difference to no mesh is noise. */
  readonly noise: readonly { readonly at: number; readonly from: number; readonly to: number }[];
  /** What the plot leaves out, and why. */
  readonly notes: readonly string[];
}
