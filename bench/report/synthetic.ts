/** Generates results for tests from a model with seeded noise: the same seed gives the same result. */
import { figuresOf } from '../result/figures.js';
import type { BenchResult, Placement, Sample, Variant, Workload } from '../result/result.js';
import { schemaName } from '../result/schema.js';

/** Uniform in [0, 1), the same for the same seed (mulberry32's constants). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const normal = (random: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

export const variants: readonly Variant[] = [
  { name: 'none', title: 'no mesh', kind: 'none', about: 'TCP from pod to pod' },
  { name: 'noise', title: 'no mesh, again', kind: 'noise', about: 'the same once more' },
  { name: 'sidecars', title: 'Envoy sidecars', kind: 'sidecar', about: 'an Envoy beside each pod, mTLS' },
  { name: 'kernel', title: 'Weft, by the kernel', kind: 'weft', about: 'socket to socket, on one node' },
  { name: 'tunnel', title: 'Weft, encrypted', kind: 'weft', about: 'HBONE between the agents' },
  { name: 'waypoint', title: 'Weft, waypoint', kind: 'weft', about: 'through an L7 proxy' },
];

const load = (name: string, title: string): Workload => ({
  name,
  title,
  kind: 'load',
  pointTitle: 'load',
  about: 'open loop, requests of 1 KB at fixed times',
});
export const workloads: readonly Workload[] = [
  load('http1', 'HTTP/1.1'),
  load('grpc', 'gRPC'),
  { name: 'bulk', title: 'Bulk', kind: 'scale', pointTitle: 'streams', about: 'writes of 128 KiB' },
  { name: 'trips', title: 'Round trips', kind: 'scale', pointTitle: 'message', about: 'one connection' },
  { name: 'pods', title: 'Memory by pods', kind: 'cost', pointTitle: 'pods', about: 'idle pods in the mesh' },
  { name: 'idle', title: 'Idle connections', kind: 'cost', pointTitle: '', about: '1 000 of them' },
  { name: 'start', title: 'Start of a pod', kind: 'cost', pointTitle: '', about: 'until it answers' },
];

const slower: Readonly<Record<string, number>> = { sidecars: 3.1, kernel: 0.86, tunnel: 2.6, waypoint: 4.2 };
const proxies: Readonly<Record<string, number>> = { sidecars: 1, kernel: 0.04, tunnel: 1.1, waypoint: 1.7 };

export interface Made {
  readonly seed?: number;
  readonly rounds?: number;
  /** Standard deviation of a value's logarithm. */
  readonly noise?: number;
  readonly placements?: readonly Placement[];
  readonly variants?: readonly Variant[];
  readonly workloads?: readonly Workload[];
  /** Factor for a value: a planted change. */
  readonly change?: (sample: Omit<Sample, 'values'>, metric: string) => number;
  /** Changes the samples of the model before figures are computed. */
  readonly edit?: (samples: Sample[]) => Sample[];
  readonly over?: Partial<BenchResult>;
}

/** Metric -> value of the model, without noise. */
function model(workload: Workload, point: string, variant: string, at: number): Record<string, number> {
  const times = slower[variant] ?? 1;
  const proxy = proxies[variant];
  const only = (values: Record<string, number>): Record<string, number> =>
    proxy === undefined ? {} : values;
  const busy = 1 + at * at * 0.12 * times;
  const latencies = (p50: number): Record<string, number> => ({
    p50: p50 * busy,
    p90: p50 * 1.5 * busy,
    p99: p50 * 2.9 * busy ** 1.6,
    p999: p50 * 7 * busy ** 2.2,
  });
  const cpu = {
    applicationUs: 38,
    kernelUs: 11 + 3 * times,
    ...only({ proxyUs: 74 * (proxy ?? 0) }),
  };
  if (workload.kind === 'load') {
    const p50 = (workload.name === 'grpc' ? 160 : 110) * times;
    return { ...latencies(p50), ...cpu, ...only({ proxyMegabytes: 30 + 60 * (proxy ?? 0) }) };
  }
  switch (workload.name) {
    case 'bulk':
      return {
        gbit: (18 * Math.min(2, 1 + at * 0.3)) / times,
        applicationSecondsPerGb: 0.41,
        kernelSecondsPerGb: 0.2,
        ...only({ proxySecondsPerGb: 1.4 * (proxy ?? 0) }),
      };
    case 'trips':
      return latencies(56 * times * (1 + at * 0.1));
    case 'pods':
      return only({ proxyMegabytes: 20 + Number(point) * (variant === 'sidecars' ? 42 : 0.4) });
    case 'idle':
      return only({ kilobytesPerConnection: 11 * (proxy ?? 0) + 2 });
    default:
      return { startMs: 900 + 700 * (proxy ?? 0), ...only({ enrolMs: 1800 * (proxy ?? 0) + 200 }) };
  }
}

const pointsOf = (workload: Workload): readonly string[] =>
  workload.kind === 'load'
    ? ['10 %', '30 %', '50 %', '70 %', '90 %']
    : ({ bulk: ['1', '4', '16'], trips: ['64 B', '1 KB', '16 KB'], pods: ['10', '50', '100'] }[
        workload.name
      ] ?? ['']);

const rate: Readonly<Record<string, number>> = { http1: 20_000, grpc: 12_000 };

export function made(options: Made = {}): BenchResult {
  const { rounds = 5, noise = 0.03, placements = ['same-node', 'cross-node'] } = options;
  const with_ = { variants: options.variants ?? variants, workloads: options.workloads ?? workloads };
  const random = seeded(options.seed ?? 1);
  const samples: Sample[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const placement of placements) {
      for (const workload of with_.workloads) {
        pointsOf(workload).forEach((point, at) => {
          // The noise of a round is the same for all variants.
          const slow = Math.exp(0.1 * normal(random));
          for (const { name, kind } of with_.variants) {
            if (placement === 'cross-node' && name === 'kernel') continue;
            const wanted = workload.kind === 'load' ? (rate[workload.name] ?? 10_000) * (0.1 + 0.2 * at) : 0;
            const sample = {
              round,
              placement,
              variant: name,
              workload: workload.name,
              point,
              ...(wanted > 0 ? { perSecondWanted: wanted } : {}),
            };
            const values = Object.entries(model(workload, point, kind === 'noise' ? 'none' : name, at)).map(
              ([metric, value]): [string, number] => {
                const tail = metric === 'p999' ? 5 : metric === 'p99' ? 2 : 1;
                const changed = options.change?.(sample, metric) ?? 1;
                return [metric, value * changed * slow * Math.exp(noise * tail * normal(random))];
              },
            );
            samples.push({ ...sample, values: Object.fromEntries(values) });
          }
        });
      }
    }
  }
  const kept = options.edit ? options.edit(samples) : samples;
  return {
    schema: schemaName,
    where: 'standalone',
    startedAt: '2026-01-02T03:04:05.000Z',
    endedAt: '2026-01-02T03:44:05.000Z',
    interrupted: false,
    settings: { rounds, seconds: 2 },
    machine: { kernel: '6.18.0', cpu: 'a CPU', cpus: 2, megabytes: 7_800 },
    versions: { weft: '0.1.0', node: 'v20.20.0', envoy: '1.40.0' },
    ...with_,
    samples: kept,
    figures: figuresOf({ variants: with_.variants, samples: kept }),
    missing: [],
    failures: [],
    evidence: [],
    generators: [{ name: 'requests', version: '0.1.0', baseline: { p50: 41, perSecond: 71_000 } }],
    goals: [],
    ...options.over,
  };
}

/** The last point of HTTP/1.1: sidecars did not reach its rate. */
export const shortOfSidecars = (samples: Sample[]): Sample[] =>
  samples.map((sample) =>
    sample.variant === 'sidecars' && sample.workload === 'http1' && sample.point === '90 %'
      ? { ...sample, values: { perSecond: 14_000 }, short: 'the connections were all busy' }
      : sample,
  );
