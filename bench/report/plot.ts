/** A plot as data: plots.ts makes it from a result, draw.ts draws it. */
import type { Spread } from '../harness/statistics.js';
import type { Placement } from '../result/result.js';

/** A value of one variant at one place of the x axis. */
export interface Dot {
  readonly at: number;
  readonly value: Spread;
  /** To no mesh. */
  readonly ratio?: Spread;
  readonly rounds: number;
}

export interface Series {
  /** A variant's name. */
  readonly variant: string;
  readonly title: string;
  readonly dots: readonly Dot[];
  /** Where it did not reach the rate: shown, not as a value. */
  readonly short: readonly number[];
}

/** What a bar is made of; the first begins at zero. */
export interface Part {
  readonly title: string;
  /** By series, in its order; absent where a variant has none. */
  readonly values: readonly (Spread | undefined)[];
}

export interface Plot {
  /** Of a file, too: letters, digits and dashes. */
  readonly name: string;
  readonly placement: Placement;
  readonly topic: 'overview' | 'load' | 'latency' | 'throughput' | 'cpu' | 'memory' | 'cost';
  readonly title: string;
  readonly subtitle: string;
  /**
   * `line`: dots joined. `dots`: side by side over each name. `bars`: side by side, from zero. `rows`: a bar to the right per
   * variant. `ratios`: a row per name, dots of all variants in it.
   */
  readonly shape: 'line' | 'dots' | 'bars' | 'rows' | 'ratios';
  readonly x: { readonly title: string; readonly names?: readonly string[] };
  readonly y: { readonly title: string; readonly unit: string; readonly log: boolean };
  readonly series: readonly Series[];
  /** Of bars that are stacked: `series` holds their sums. */
  readonly parts?: readonly Part[];
  /** Between which values a difference to no mesh is none. */
  readonly noise: readonly { readonly at: number; readonly from: number; readonly to: number }[];
  /** What is not in the plot, and why. */
  readonly notes: readonly string[];
}
