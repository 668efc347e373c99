/** Compares the goals of Weft with the measurements of a run. Pure. */
import { spreadOf, type Spread } from '../harness/statistics.js';
import type { BenchResult, Goal, Placement } from './result.js';

/** A goal is reached if every round reaches it. If only the median does, the state says so. */
export function stateOf(found: Spread | undefined, holds: (value: number) => boolean): Goal['state'] {
  if (!found) return 'not measured';
  if (!holds(found.median)) return 'not reached';
  return holds(found.min) && holds(found.max) ? 'reached' : 'by the median alone';
}

interface Wanted {
  readonly what: string;
  readonly placement: Placement;
  readonly workload: string;
  readonly point: string;
  readonly metric: string;
  readonly variant: string;
  readonly base: string;
  readonly atMost?: number;
  readonly atLeast?: number;
}

const spliced = { placement: 'same-node', variant: 'weft-spliced', base: 'none' } as const;
const trips = { ...spliced, workload: 'ping-pong', point: '128 B' } as const;

/** Goals for ratios that the comparison measures. Bulk is left out: the sockets of iperf3 block, and blocking sockets are not spliced. */
const wantedRatios: readonly Wanted[] = [
  { ...trips, what: 'same node, spliced / no mesh: 128-byte round trip, p50', metric: 'p50', atMost: 0.8 },
  { ...trips, what: 'same node, spliced / no mesh: 128-byte round trip, p99', metric: 'p99', atMost: 1 },
  { ...trips, what: 'same node, spliced / no mesh: 128-byte round trip, p99.9', metric: 'p999', atMost: 1 },
  {
    ...spliced,
    what: 'same node, spliced / no mesh: new connections',
    workload: 'churn',
    point: '',
    metric: 'perSecond',
    atLeast: 0.9,
  },
];

/** A metric of one variant divided by another's, round by round. */
function ratioOf(
  samples: BenchResult['samples'],
  { placement, workload, point, metric, variant, base }: Wanted,
): Spread | undefined {
  const of = (name: string): Map<number, number> =>
    new Map(
      samples.flatMap((sample) => {
        const value = sample.values[metric];
        return sample.placement === placement &&
          sample.workload === workload &&
          sample.point === point &&
          sample.variant === name &&
          value !== undefined
          ? [[sample.round, value] as const]
          : [];
      }),
    );
  const below = of(base);
  return spreadOf(
    [...of(variant)].flatMap(([round, value]) => {
      const bottom = below.get(round);
      return bottom ? [value / bottom] : [];
    }),
  );
}

export function goalsOfRatios(samples: BenchResult['samples']): Goal[] {
  return wantedRatios.map((wanted) => {
    const found = ratioOf(samples, wanted);
    const { what, atMost = Infinity, atLeast = -Infinity, workload } = wanted;
    return {
      what,
      wanted: atMost === Infinity ? `at least ${atLeast}` : `at most ${atMost}`,
      ...(found ? { found } : {}),
      state: stateOf(found, (value) => value <= atMost && value >= atLeast),
      unit: 'x',
      from: workload,
    };
  });
}

/** A goal of another suite: a ratio of at least `limit`. */
export function goalAtLeast(what: string, limit: number, from: string, values: readonly number[]): Goal {
  const found = spreadOf(values.filter(Number.isFinite));
  return {
    what,
    wanted: `at least ${limit}`,
    ...(found ? { found } : {}),
    state: stateOf(found, (value) => value >= limit),
    unit: 'x',
    from,
  };
}

/** A goal of another suite: a figure of at most `limit`. */
export function goalBelow(
  what: string,
  limit: number,
  unit: string,
  from: string,
  values: readonly number[],
): Goal {
  const found = spreadOf(values.filter(Number.isFinite));
  return {
    what,
    wanted: `at most ${limit}`,
    ...(found ? { found } : {}),
    state: stateOf(found, (value) => value <= limit),
    unit,
    from,
  };
}
