/** Compares the goals of Weft with the measurements of a run. Pure. */
import { spreadOf, type Spread } from '../harness/statistics.js';
import { relayGoals } from './relay-goals.js';
import type { Wanted } from './wanted.js';
import { metrics, type BenchResult, type Goal } from './result.js';

/** A goal is reached if every round reaches it. If only the median does, the state says so. */
export function stateOf(found: Spread | undefined, holds: (value: number) => boolean): Goal['state'] {
  if (!found) return 'not measured';
  if (!holds(found.median)) return 'not reached';
  return holds(found.min) && holds(found.max) ? 'reached' : 'by the median alone';
}

const spliced = { placement: 'same-node', variant: 'weft-spliced', bases: ['none'] } as const;
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
  ...relayGoals,
];

/** A metric of one variant, divided by the best of the others, round by round. */
function found(
  samples: BenchResult['samples'],
  { placement, workload, point, metric, variant, bases }: Wanted,
): Spread | undefined {
  const of = (name: string): Map<number, number> =>
    new Map(
      samples.flatMap((sample) => {
        const value = sample.values[metric];
        return sample.placement === placement &&
          sample.workload === workload &&
          (point === undefined || sample.point === point) &&
          sample.variant === name &&
          value !== undefined
          ? [[sample.round, value] as const]
          : [];
      }),
    );
  const below = bases.map(of);
  const best = metrics[metric]?.better === 'higher' ? Math.max : Math.min;
  return spreadOf(
    [...of(variant)].flatMap(([round, value]) => {
      if (below.length === 0) return [value];
      const bottoms = below.flatMap((values) => values.get(round) ?? []);
      const bottom = bottoms.length === below.length ? best(...bottoms) : 0;
      return bottom > 0 ? [value / bottom] : [];
    }),
  );
}

/** Goals of a comparison. `isAsked`: whether the run was to measure what a goal is about. */
export function goalsOfRatios(
  samples: BenchResult['samples'],
  isAsked: (of: Pick<Wanted, 'placement' | 'variant' | 'workload'>) => boolean = () => true,
): Goal[] {
  return wantedRatios.filter(isAsked).map((wanted) => {
    const spread = found(samples, wanted);
    const { what, atMost = Infinity, atLeast = -Infinity, workload, unit = 'x' } = wanted;
    return {
      what,
      wanted: atMost === Infinity ? `at least ${atLeast}` : `at most ${atMost}`,
      ...(spread ? { found: spread } : {}),
      state: stateOf(spread, (value) => value <= atMost && value >= atLeast),
      unit,
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
