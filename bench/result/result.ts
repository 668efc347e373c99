/** The result of a comparison, and the file that `--json` writes. All outputs are computed from it. */
import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import { errorText, WeftError } from '../../src/base/errors.js';
import type { Spread } from '../harness/statistics.js';
import { resultSchema, schemaName } from './schema.js';

/** Client and server on one node, or on two. `own`: the user's own application, wherever it runs. */
export type Placement = 'same-node' | 'cross-node' | 'own';

export interface Variant {
  readonly name: string;
  /** For people. */
  readonly title: string;
  /** `none`: no mesh, the divisor of all ratios. `noise`: no mesh, measured a second time, which shows how much varies by chance. */
  readonly kind: 'none' | 'noise' | 'sidecar' | 'weft' | 'other';
  /** The path of the bytes. */
  readonly about: string;
}

export interface Workload {
  readonly name: string;
  readonly title: string;
  /**
   * `load`: points are requests per second, and plots show latency over them. `scale`: points are ordered sizes or counts.
   * `cost`: a cost other than that of traffic, such as memory or start time.
   */
  readonly kind: 'load' | 'scale' | 'cost';
  /** The meaning of a point: `message`, `streams`, `pods`. Empty if the workload has one point. */
  readonly pointTitle: string;
  /** How the workload is measured, and with which program. */
  readonly about: string;
}

/** One measurement of one variant. */
export interface Sample {
  /** From 0. Samples of one round were taken one right after the other. Ratios are taken only within a round. */
  readonly round: number;
  readonly placement: Placement;
  readonly variant: string;
  readonly workload: string;
  /** `64 B`, `4 streams`, `30 %`. Empty if the workload has one point. */
  readonly point: string;
  /** Requested requests per second. */
  readonly perSecondWanted?: number;
  /** Metric -> number. `metrics` has names, units and directions. */
  readonly values: Readonly<Record<string, number>>;
  /** Why the generator did not reach the rate. Then `values` holds only the reached rate, and no latency. */
  readonly short?: string;
}

export interface Metric {
  readonly title: string;
  readonly unit: string;
  readonly better: 'lower' | 'higher';
}

/** All metrics of samples. CPU times are those of the scheduler's accounting. */
export const metrics: Readonly<Record<string, Metric>> = {
  p50: { title: 'latency p50', unit: 'us', better: 'lower' },
  p90: { title: 'latency p90', unit: 'us', better: 'lower' },
  p99: { title: 'latency p99', unit: 'us', better: 'lower' },
  p999: { title: 'latency p99.9', unit: 'us', better: 'lower' },
  perSecond: { title: 'per second', unit: '1/s', better: 'higher' },
  gbit: { title: 'throughput', unit: 'Gbit/s', better: 'higher' },
  proxyUs: { title: 'CPU of proxies per request', unit: 'us', better: 'lower' },
  agentUs: { title: 'CPU of agents beside carriers per request', unit: 'us', better: 'lower' },
  applicationUs: { title: 'CPU of applications per request', unit: 'us', better: 'lower' },
  kernelUs: { title: 'CPU of the kernel beside them per request', unit: 'us', better: 'lower' },
  proxySecondsPerGb: { title: 'CPU of proxies per GB', unit: 's', better: 'lower' },
  applicationSecondsPerGb: { title: 'CPU of applications per GB', unit: 's', better: 'lower' },
  kernelSecondsPerGb: { title: 'CPU of the kernel beside them per GB', unit: 's', better: 'lower' },
  agentMegabytes: { title: 'memory of the larger agent', unit: 'MB', better: 'lower' },
  carrierMegabytes: { title: 'memory of the larger carrier', unit: 'MB', better: 'lower' },
  proxyMegabytes: { title: 'memory of proxies', unit: 'MB', better: 'lower' },
  megabytesPerPod: { title: 'memory of proxies per pod', unit: 'MB', better: 'lower' },
  kilobytesPerConnection: { title: 'memory of proxies per idle connection', unit: 'KB', better: 'lower' },
  carrierKilobytesPerConnection: {
    title: 'memory of the larger carrier per idle connection',
    unit: 'KB',
    better: 'lower',
  },
  startMs: { title: 'time until a pod serves', unit: 'ms', better: 'lower' },
  enrolMs: { title: 'time until all pods are in the mesh', unit: 'ms', better: 'lower' },
};

/** A counter of a proxy: it proves that the variant handled the traffic. */
export interface Evidence {
  readonly variant: string;
  /** The owner and the name of the counter. */
  readonly what: string;
  readonly value: number;
}

export interface Generator {
  readonly name: string;
  readonly version: string;
  /** Metric -> number, on an idle machine against a server on loopback, without a proxy. */
  readonly baseline: Readonly<Record<string, number>>;
}

export interface Goal {
  readonly what: string;
  readonly wanted: string;
  readonly found?: Spread;
  /** `by the median alone`: the median reaches the goal, but not every round does. */
  readonly state: 'reached' | 'by the median alone' | 'not reached' | 'not measured';
  /** The unit of `found`: `x` for ratios. */
  readonly unit: string;
  /** The suite or workload that measured it. */
  readonly from: string;
}

/** One line of a table: a metric of a variant over all rounds. */
export interface Figure {
  readonly placement: Placement;
  readonly workload: string;
  readonly point: string;
  readonly metric: string;
  readonly variant: string;
  readonly values: Spread;
  readonly rounds: number;
  /** Ratio to no mesh, round by round. Absent for no mesh itself, and if no mesh has no such metric (CPU of proxies). */
  readonly ratio?: Spread;
  /** Ratio of the two measurements of no mesh. */
  readonly noise?: Spread;
  /** `none`: the ratio's median is within the noise, or there is no ratio. */
  readonly difference: 'none' | 'better' | 'worse';
}

export interface BenchResult {
  readonly schema: typeof schemaName;
  readonly where: 'standalone' | 'cluster' | 'own';
  readonly startedAt: string;
  readonly endedAt: string;
  /** A signal ended the run: the result has the rounds that were complete by then. */
  readonly interrupted: boolean;
  readonly settings: Readonly<Record<string, number | string | boolean>>;
  readonly machine: Readonly<Record<string, number | string>>;
  /** Program -> version. */
  readonly versions: Readonly<Record<string, string>>;
  readonly variants: readonly Variant[];
  readonly workloads: readonly Workload[];
  readonly samples: readonly Sample[];
  readonly figures: readonly Figure[];
  /** Variants, workloads or tools that the result lacks, each with the reason. */
  readonly missing: readonly { readonly what: string; readonly why: string }[];
  /** Failed measurements. The figure of each has fewer rounds. */
  readonly failures: readonly {
    readonly round: number;
    readonly placement: Placement;
    readonly variant: string;
    readonly workload: string;
    readonly point: string;
    readonly why: string;
  }[];
  readonly evidence: readonly Evidence[];
  readonly generators: readonly Generator[];
  readonly goals: readonly Goal[];
}

const validate = new Ajv({ allErrors: false, strict: false }).compile(resultSchema);

/** Reads a file that `--json` wrote. Throws WEFT_BENCH_FILE if it cannot be read, has another schema, or is damaged. */
export function readResult(path: string): BenchResult {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new WeftError(
      'WEFT_BENCH_FILE',
      `${path} cannot be read: ${errorText(error)}; give a file that npm run bench -- --json wrote`,
      { cause: error },
    );
  }
  const of: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'schema') : undefined;
  if (of !== schemaName) {
    throw new WeftError(
      'WEFT_BENCH_FILE',
      `${path} is of the schema ${typeof of === 'string' ? of : '(none)'}, this version reads ${schemaName}: measure again, or use the version that wrote it`,
    );
  }
  if (!validate(value)) {
    const [first] = validate.errors ?? [];
    throw new WeftError(
      'WEFT_BENCH_FILE',
      `${path} is damaged: ${first?.instancePath || '/'} ${first?.message ?? ''}; measure again`,
    );
  }
  return value as unknown as BenchResult;
}
