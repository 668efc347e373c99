/**
 * The comparison: no mesh, sidecars and the variants of Weft, with the same applications under the same load between the same two
 * nodes. `runMesh` reads top to bottom: the variants, the testbed, the proof, the rounds, the evidence.
 */
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { errorText, WeftError } from '../../src/base/errors.js';
import { version } from '../../src/base/version.js';
import { cpuOf, loadProgram } from '../harness/load.js';
import { measurementsOf, runRounds, type RoundsPlan, type RoundsResult } from '../harness/rounds.js';
import { echoPath, findFortio, serverArgs, type Protocol } from '../load/fortio.js';
import { findEnvoy } from '../peers/envoy.js';
import { findZtunnel, linkerdMissing } from '../peers/ztunnel.js';
import { Progress } from '../report/progress.js';
import { figuresOf } from '../result/figures.js';
import { goalsOfRatios } from '../result/goals.js';
import type { BenchResult, Evidence, Generator, Placement } from '../result/result.js';
import { schemaName } from '../result/schema.js';
import { has, needTools } from '../waypoint/tools.js';
import { baselines } from './generators.js';
import { evidenceOf, prove } from './proof.js';
import { Scene } from './scene.js';
import { startTarget, type Target } from './target.js';
import { cellsOf, kinds, planOf, ports, type MeshCell } from './variants.js';
import {
  allPoints,
  allProtocols,
  atRate,
  bulk,
  capacity,
  churn,
  connections,
  goalPoints,
  measureCapacity,
  memory,
  mixed,
  pingPong,
  quickPoints,
  stepsOf,
  type Workbench,
} from './workloads.js';

export interface MeshOptions {
  readonly rounds: number;
  /** Duration of each measurement in seconds, without the warm-up. */
  readonly seconds: number;
  readonly quick: boolean;
  readonly focus?: Focus;
  /** Envoy binary to use instead of a download. */
  readonly envoy?: string;
  /** Names of variants. Default: all. `none` and `none-again` are always included. */
  readonly variants?: readonly string[];
  /** Names of workloads. Default: all. */
  readonly workloads?: readonly string[];
  /** The user's application, which replaces the built-in ones. */
  readonly target?: Target;
  readonly state: string;
  readonly note: (text: string) => void;
  readonly interrupted: () => boolean;
}

/** A run of what a relay carries, with the points that have goals. */
export interface Focus {
  readonly placement: Placement;
  readonly variants: readonly string[];
}
export const focuses: Readonly<Record<string, Focus>> = {
  'across-nodes': { placement: 'cross-node', variants: ['sidecar', 'ztunnel', 'weft', 'weft-typescript'] },
  encrypted: {
    placement: 'same-node',
    variants: ['sidecar', 'ztunnel', 'weft-encrypted', 'weft-encrypted-typescript'],
  },
};

type Missing = BenchResult['missing'][number];
/** The part of a result that one part of a run contributes. */
export type Part = RoundsResult & Pick<BenchResult, 'evidence' | 'generators' | 'missing' | 'versions'>;

const warmSeconds = 0.5;
const goalRoundsMin = 5;
const envoyWorkers = availableParallelism();

export interface Peers {
  readonly names: ReadonlySet<string>;
  readonly envoy: string | undefined;
  readonly fortio: string | undefined;
  readonly missing: readonly Missing[];
  readonly versions: Readonly<Record<string, string>>;
}

/** The variants to compare, and those that are missing with the reason. Throws WEFT_BENCH_VARIANT for an unknown name. */
export function findPeers(options: Pick<MeshOptions, 'variants' | 'focus' | 'envoy' | 'note'>): Peers {
  const missing: Missing[] = [];
  const versions: Record<string, string> = { weft: version, node: process.version };
  const names = options.variants ?? options.focus?.variants ?? kinds.map(({ name }) => name);
  const wanted = new Set(['none', 'none-again', ...names]);
  for (const name of wanted)
    if (!kinds.some((kind) => kind.name === name))
      throw new WeftError(
        'WEFT_BENCH_VARIANT',
        `no variant ${name}: there are ${kinds.map((kind) => kind.name).join(', ')}`,
      );
  const envoy = wanted.has('sidecar') ? findEnvoy(options.envoy, options.note) : undefined;
  if (envoy && 'missing' in envoy) {
    missing.push({ what: 'sidecar', why: envoy.missing });
    wanted.delete('sidecar');
  } else if (envoy) versions['envoy'] = envoy.version;
  const ztunnel = wanted.has('ztunnel') ? findZtunnel() : undefined;
  if (ztunnel && 'missing' in ztunnel) {
    missing.push({ what: 'ztunnel', why: ztunnel.missing });
    wanted.delete('ztunnel');
  } else if (ztunnel) versions['ztunnel'] = ztunnel.version;
  if (options.variants === undefined)
    missing.push({ what: 'linkerd2-proxy', why: linkerdMissing(has('linkerd2-proxy')) });
  const fortio = findFortio(options.note);
  if ('missing' in fortio) missing.push({ what: 'HTTP and gRPC', why: fortio.missing });
  else versions['fortio'] = fortio.version;
  return {
    names: wanted,
    envoy: envoy && 'path' in envoy ? envoy.path : undefined,
    fortio: 'path' in fortio ? fortio.path : undefined,
    missing,
    versions,
  };
}

async function startServers(scene: Scene, fortio: string | undefined): Promise<void> {
  const pinned = (command: string, args: readonly string[]): [string, string[]] =>
    cpuOf.server < 0 ? [command, [...args]] : ['taskset', ['-c', String(cpuOf.server), command, ...args]];
  for (const { name, netns } of scene.pods) {
    if (name === 'client') continue;
    await scene.serve(netns, ports.echo, loadProgram('echo'), [String(ports.echo), String(cpuOf.server)]);
    await scene.serve(netns, ports.bulk, ...pinned('iperf3', ['-s', '-p', String(ports.bulk)]));
    if (fortio !== undefined) await scene.serve(netns, ports.http, ...pinned(fortio, serverArgs()));
  }
}

/** Starts the proxies. Leaves out variants whose proxies do not start or fail the proof, and records the reason. */
async function provenCells(
  scene: Scene,
  names: ReadonlySet<string>,
  envoy: string | undefined,
  /** Path of the proof requests. Undefined if no application responds to requests. */
  path: string | undefined,
  focus: Focus | undefined,
): Promise<{ readonly cells: MeshCell[]; readonly missing: Missing[] }> {
  const missing: Missing[] = [];
  const lost = new Set<string>();
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    await work().catch((error: unknown) => {
      lost.add(what);
      missing.push({ what, why: errorText(error) });
    });
  };
  if (names.has('sidecar') && envoy !== undefined) {
    await attempt('sidecar', async () => {
      for (const pod of scene.pods.filter(({ namespace }) => namespace === 'sidecar'))
        await scene.startSidecar(pod, envoy, [ports.http, ports.grpc], envoyWorkers);
    });
  }
  if (names.has('ztunnel')) {
    await attempt('ztunnel', async () => {
      for (const pod of scene.pods.filter(({ namespace }) => namespace === 'ztunnel'))
        await scene.startZtunnel(pod);
    });
  }
  if (names.has('weft-waypoint')) {
    const place = { namespace: 'waypoint', name: 'waypoint', workers: availableParallelism() };
    await attempt('weft-waypoint', () => scene.startWaypoint(place));
  }
  const cells: MeshCell[] = [];
  for (const cell of cellsOf(scene.plan, names)) {
    if (lost.has(cell.variant) || (focus && cell.placement !== focus.placement)) continue;
    const what = `${cell.variant}, ${cell.placement}`;
    if (path !== undefined) await attempt(what, () => prove(scene, cell, ports.http, path));
    if (!lost.has(what)) cells.push(cell);
  }
  return { cells, missing };
}

/** Requests per second of the slowest variant of each placement at full speed. The measurement also warms up all variants. */
async function slowestOf(
  bench: Workbench,
  cells: readonly MeshCell[],
  protocols: readonly Protocol[],
  options: MeshOptions,
): Promise<(protocol: Protocol, placement: Placement) => number> {
  const slowest = new Map<string, number>();
  for (const protocol of protocols) {
    for (const cell of cells) {
      // A variant that fails here also fails in its rounds, which record the reason.
      const measured = await measureCapacity({ ...bench, seconds: warmSeconds }, cell, protocol).catch(
        (error: unknown) => options.note(`${cell.variant}, ${cell.placement}: ${errorText(error)}`),
      );
      if (options.interrupted())
        throw new WeftError('WEFT_INTERRUPTED', 'interrupted before the first round: no result is written');
      const key = `${protocol} ${cell.placement}`;
      slowest.set(key, Math.min(slowest.get(key) ?? Infinity, measured?.values['perSecond'] ?? Infinity));
    }
  }
  return (protocol, placement) => {
    const found = slowest.get(`${protocol} ${placement}`) ?? Infinity;
    return Number.isFinite(found) ? found : connections;
  };
}

/** Creates the testbed, measures, and removes the testbed. Throws if there is nothing to compare, or for an error before the first round. */
export async function runMesh(options: MeshOptions, peers: Peers): Promise<Part> {
  const { names, envoy, fortio, versions } = peers;
  const missing = [...peers.missing];
  needTools(['iptables', 'iperf3', 'curl'], options.note);
  const scene = await Scene.create(planOf(names), options.state);
  try {
    options.note('starting two nodes');
    await scene.startMesh();
    const { target } = options;
    if (target && fortio === undefined)
      throw new WeftError('WEFT_BENCH_TARGET', 'fortio is missing, so your application cannot be measured');
    if (target) await startTarget(scene, target);
    else await startServers(scene, fortio);
    const asked = target?.path ?? echoPath;
    const proven = await provenCells(
      scene,
      names,
      envoy,
      fortio === undefined ? undefined : asked,
      options.focus,
    );
    missing.push(...proven.missing);
    const { cells } = proven;
    const bench: Workbench = {
      scene,
      fortio: fortio ?? '',
      seconds: options.seconds,
      path: asked,
      elsewhere: target?.kind === 'url',
    };
    const protocols: readonly Protocol[] = fortio === undefined ? [] : target ? ['http1'] : allProtocols;
    const generators: Generator[] = [];
    const none = cells.find(({ variant }) => variant === 'none');
    if (none && fortio !== undefined && !target) {
      options.note('the load generators alone');
      await baselines(bench, none, versions['fortio'] ?? '').then(
        (of) => generators.push(...of),
        (error: unknown) => missing.push({ what: 'the load generators alone', why: errorText(error) }),
      );
    }
    options.note('warming up, and finding the slowest');
    const slowest = await slowestOf(bench, cells, protocols, options);
    const points = options.quick ? quickPoints : options.focus ? goalPoints : allPoints;
    const steps = stepsOf({ bench, cells, points, slowest, protocols, bytes: !target }).filter(
      ({ workload }) => options.workloads?.includes(workload.name) !== false,
    );
    const plan: RoundsPlan<MeshCell> = {
      rounds: options.rounds,
      steps,
      onStep: (text) => progress.step(text),
      interrupted: options.interrupted,
    };
    const progress = new Progress(measurementsOf(plan));
    const measured = await runRounds(plan).finally(() => progress.end());
    const evidence: Evidence[] = [];
    for (const cell of cells)
      await evidenceOf(scene, cell).then(
        (of) => evidence.push(...of),
        (error: unknown) =>
          missing.push({
            what: `evidence of ${cell.variant}, ${cell.placement}`,
            why: `${errorText(error)} ${scene.lastWords()}`,
          }),
      );
    return { ...measured, evidence, generators, missing, versions };
  } finally {
    await scene.down();
  }
}

export const meshWorkloads = [
  pingPong,
  bulk,
  churn,
  mixed,
  memory,
  ...allProtocols.flatMap((protocol) => [capacity(protocol), atRate(protocol)]),
];

const machine = (): BenchResult['machine'] => ({
  kernel: release(),
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cpus: cpus().length,
  memoryMegabytes: Math.round(totalmem() / 1e6),
});

/** Combines the parts into one result. */
export function resultOf(
  given: Part & Pick<BenchResult, 'where' | 'startedAt' | 'settings' | 'workloads' | 'goals'>,
  isAsked?: Parameters<typeof goalsOfRatios>[1],
): BenchResult {
  const rounds = new Set(given.samples.map(({ round }) => round)).size;
  const seen = new Set(given.samples.map(({ variant }) => variant));
  const measured = new Set(given.samples.map(({ workload }) => workload));
  const variants = kinds
    .filter(({ name }) => seen.has(name))
    .map(({ name, title, kind, about }) => ({ name, title, kind, about }));
  return {
    schema: schemaName,
    where: given.where,
    startedAt: given.startedAt,
    endedAt: new Date().toISOString(),
    interrupted: given.interrupted,
    settings: given.settings,
    machine: machine(),
    versions: given.versions,
    variants,
    workloads: given.workloads.filter(({ name }) => measured.has(name)),
    samples: given.samples,
    figures: figuresOf({ variants, samples: given.samples }),
    missing: given.missing,
    failures: given.failures,
    evidence: given.evidence,
    generators: given.generators,
    // Few rounds cannot decide a goal.
    goals: rounds < goalRoundsMin ? [] : [...goalsOfRatios(given.samples, isAsked), ...given.goals],
  };
}
