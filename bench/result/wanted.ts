/** A goal of the comparison: a metric of a variant, or its ratio to other variants in the same round. */
import type { Placement } from './result.js';

export interface Wanted {
  readonly what: string;
  readonly placement: Placement;
  readonly workload: string;
  /** Absent: the last one that was measured. */
  readonly point?: string;
  readonly metric: string;
  readonly variant: string;
  /** Variants to divide by: in each round the best of them, and all of them must be there. None: the metric itself counts. */
  readonly bases: readonly string[];
  readonly atMost?: number;
  readonly atLeast?: number;
  /** Of the metric, if it is not divided. */
  readonly unit?: string;
}
