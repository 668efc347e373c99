/** Parts that all costs share: their input, their result, and the variants. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorText, WeftError } from '../../../src/base/errors.js';
import { until } from '../../../src/base/wait.js';
import { run } from '../../../src/cli/run.js';
import { cpuOf } from '../../harness/load.js';
import type { CpuSpent } from '../../harness/roles.js';
import { loadArgs, readOpen } from '../../load/fortio.js';
import type { BenchResult, Placement, Sample, Workload } from '../../result/result.js';
import type { NamespacePlan, NodeName, ScenePlan } from '../plan.js';
import { Scene, type ProxyRole } from '../scene.js';

export interface CostContext {
  readonly rounds: number;
  /** Maximum duration of a measurement. */
  readonly seconds: number;
  readonly quick: boolean;
  /** Only this placement. Default: all. */
  readonly placement?: Placement;
  /** Only these variants. Default: all. */
  readonly variants?: ReadonlySet<string>;
  /** Path of Envoy. Without it the costs of sidecars are missing. */
  readonly envoy?: string;
  readonly fortio?: string;
  /** State directory of the testbed. */
  readonly state: string;
  /** Throws after an interruption. */
  readonly onProgress: (text: string) => void;
  readonly onSamples?: (samples: readonly Sample[]) => void;
}

export type CostResult = Pick<BenchResult, 'samples' | 'missing' | 'failures'>;

export interface Cost {
  readonly workload: Workload;
  /** Throws if the testbed cannot be created, and the errors of `onProgress`. */
  measure(context: CostContext): Promise<CostResult>;
}

export type VariantName = 'none' | 'none-again' | 'sidecar' | 'weft' | 'weft-encrypted';

/** Namespaces are named after their variant. The second measurement of no mesh uses the namespace of the first one. */
export const namespaceOf = (variant: VariantName): string => (variant === 'none-again' ? 'none' : variant);

export const namespacePlan = (name: string): NamespacePlan => ({
  name,
  labels: name.startsWith('weft')
    ? { 'weft.dev/mesh': 'enabled', 'weft.dev/mode': 'strict' }
    : { 'weft.dev/mesh': 'disabled' },
  ...(name.startsWith('weft-encrypted') ? { annotations: { 'weft.dev/same-node': 'encrypted' } } : {}),
});

export const proxyRolesOf = (variant: VariantName): readonly ProxyRole[] =>
  variant === 'sidecar' ? ['sidecars'] : variant.startsWith('weft') ? ['agents', 'carriers'] : [];

export const nodeOf: Readonly<Record<Exclude<Placement, 'own'>, NodeName>> = {
  'same-node': 'bench-a',
  'cross-node': 'bench-b',
};

/** Number of Envoy threads, as Istio sets it. */
export const sidecarThreads = 2;

/** Command line that runs on the CPU of servers. */
export const asServer = (command: string, args: readonly string[]): [string, string[]] =>
  cpuOf.server < 0 ? [command, [...args]] : ['taskset', ['-c', String(cpuOf.server), command, ...args]];
const asClient = (command: string, args: readonly string[]): [string, string[]] =>
  cpuOf.client < 0 ? [command, [...args]] : ['taskset', ['-c', String(cpuOf.client), command, ...args]];

export interface Measured {
  readonly values: Readonly<Record<string, number>>;
  readonly perSecondWanted?: number;
  readonly short?: string;
}

/** Samples and failures of a cost. */
export class Journal {
  readonly #samples: CostResult['samples'][number][] = [];
  readonly #missing: CostResult['missing'][number][] = [];
  readonly #failures: CostResult['failures'][number][] = [];

  constructor(
    private readonly workload: string,
    private readonly context: CostContext,
  ) {}

  progress(text: string): void {
    this.context.onProgress(`${this.workload}: ${text}`);
  }

  /** Progress callback for `inTurns`. */
  counting(what: string, of: number): (count: number) => void {
    return (count) => {
      if (count % 10 === 1) this.progress(`${what}, ${count} of ${of}`);
    };
  }

  leaveOut(what: string, why: string): void {
    this.#missing.push({ what: `${this.workload}: ${what}`, why });
  }

  /** Measures one sample. Records a failure, and lets the other samples be measured. */
  async take(
    at: Pick<Sample, 'round' | 'placement' | 'variant' | 'point'>,
    work: () => Promise<Measured>,
  ): Promise<void> {
    const key = { ...at, workload: this.workload };
    const point = at.point === '' ? '' : ` ${at.point}`;
    this.progress(`round ${at.round + 1}, ${at.placement}${point}, ${at.variant}`);
    try {
      this.add({ ...key, ...(await work()) });
    } catch (error) {
      this.#failures.push({ ...key, why: errorText(error) });
    }
  }

  add(sample: Sample): void {
    this.#samples.push(sample);
    this.context.onSamples?.([sample]);
  }

  result(): CostResult {
    return { samples: this.#samples, missing: this.#missing, failures: this.#failures };
  }
}

/** The variants of a list that can be measured. Records the others as missing. */
export function available<T extends VariantName>(
  variants: readonly T[],
  { envoy }: CostContext,
  journal: Journal,
): T[] {
  if (envoy !== undefined || !variants.some((variant) => variant === 'sidecar')) return [...variants];
  journal.leaveOut('sidecar', 'there is no Envoy');
  return variants.filter((variant) => variant !== 'sidecar');
}

/** Creates a testbed, runs `work` in it, and removes it in any case. */
export async function inScene<T>(
  { state }: CostContext,
  plan: ScenePlan,
  work: (scene: Scene) => Promise<T>,
): Promise<T> {
  const scene = await Scene.create(plan, state);
  try {
    await scene.startMesh();
    return await work(scene);
  } finally {
    await scene.down();
  }
}

/** Runs at most `atOnce` tasks at a time. `onBegun` gets the number of started tasks. Throws the first error once no task runs. */
export async function inTurns<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<unknown>,
  onBegun?: (count: number) => void,
): Promise<void> {
  const left = [...items];
  const errors: unknown[] = [];
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined && errors.length === 0; item = left.shift())
      try {
        onBegun?.(items.length - left.length);
        await work(item);
      } catch (error) {
        errors.push(error);
      }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (errors.length > 0) throw errors[0];
}

const reachableMsMax = 20_000;

/** Waits until a pod gets a response from a URL. Throws WEFT_BENCH_NOT_CARRIED with the last failure. */
export async function waitReachable(scene: Scene, netns: string, url: string): Promise<void> {
  let last: unknown;
  const answered = (): Promise<boolean> =>
    scene.get(netns, url).then(
      () => true,
      (error: unknown) => {
        last = error;
        return false;
      },
    );
  await until(url, reachableMsMax, answered).catch((error: unknown) => {
    throw last ?? error;
  });
}

/** Waits until a pod gets no response from a URL. Throws WEFT_TIMEOUT. */
export async function refuses(scene: Scene, netns: string, url: string): Promise<void> {
  await until(`${url} is refused to ${netns}`, reachableMsMax, () =>
    scene.get(netns, url).then(
      () => false,
      () => true,
    ),
  );
}

const proxyRoles: readonly ProxyRole[] = ['agents', 'carriers', 'sidecars', 'waypoint', 'others'];

/** Runs `work` and returns its CPU cost. The idle work of the proxies of other variants is not counted. */
export async function spentOn<T>(
  scene: Scene,
  variant: VariantName,
  work: () => Promise<T>,
): Promise<[T, CpuSpent]> {
  const own = proxyRolesOf(variant);
  const idle = proxyRoles.filter((role) => !own.includes(role));
  const idleSeconds = (): number => idle.reduce((sum, role) => sum + scene.roles.cpuSeconds(role), 0);
  const before = idleSeconds();
  const [result, spent] = await scene.roles.spentBy(own, ['client', 'server', ...idle], work);
  return [result, { ...spent, application: Math.max(0, spent.application - (idleSeconds() - before)) }];
}

export interface OpenLoop {
  readonly netns: string;
  readonly host: string;
  readonly port: number;
  readonly perSecond: number;
  readonly connections: number;
  readonly seconds: number;
}

const warmSeconds = 0.5;
const slackMs = 30_000;

/** Sends HTTP/1.1 requests at a fixed rate. Returns latencies, and CPU per request of the variant. Throws WEFT_COMMAND. */
export async function openLoop(
  scene: Scene,
  variant: VariantName,
  fortio: string,
  loop: OpenLoop,
): Promise<Measured> {
  const dir = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  try {
    const seconds = loop.seconds + warmSeconds;
    const log = join(dir, 'calls');
    const load = asClient(fortio, loadArgs({ protocol: 'http1', ...loop, seconds, log }));
    const [{ code, stderr, stdout }, spent] = await spentOn(scene, variant, () =>
      run(loop.netns, ...scene.roles.command('client', ...load), seconds * 1000 + slackMs),
    );
    if (code !== 0)
      throw new WeftError('WEFT_COMMAND', `fortio: ${(stderr || stdout).trim().split('\n').at(-1) ?? code}`);
    const found = readOpen(readFileSync(log, 'utf8'), { ...loop, seconds }, warmSeconds);
    const perSecondWanted = loop.perSecond;
    if ('short' in found)
      return { values: { perSecond: found.perSecond }, perSecondWanted, short: found.short };
    const us = (part: Exclude<keyof CpuSpent, 'byProxy'>): number => (spent[part] * 1e6) / found.requests;
    return {
      perSecondWanted,
      values: {
        ...found.latenciesUs,
        ...(proxyRolesOf(variant).length === 0 ? {} : { proxyUs: us('proxy') }),
        applicationUs: us('application'),
        kernelUs: us('kernel'),
      },
    };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
