/**
 * The cost of the mesh at L4. The same load programs run between two pods in the mesh, between two pods outside of it, and through
 * other proxies, on one node and across two, interleaved in one run.
 */
import { availableParallelism } from 'node:os';
import { WeftError } from '../../src/base/errors.js';
import { sleep, until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { interleave } from '../harness/interleave.js';
import { cpuOf, loadProgram, runJson } from '../harness/load.js';
import type { Report } from '../harness/report.js';
import { evidenceOf } from '../mesh/proof.js';
import { Scene } from '../mesh/scene.js';
import type { MeshCell } from '../mesh/variants.js';
import { findEnvoy } from '../peers/envoy.js';
import { findZtunnel } from '../peers/ztunnel.js';
import { reportOf } from './report.js';
import { echoPort, largeMessageBytes, messageBytes, sinkPort, tasksOf } from './tasks.js';
import { again, direct, endsOf, others, paths, scenePlanOf, type Path, type Variant } from './variants.js';

export interface L4Options {
  readonly rounds: number;
  /** How long each single measurement takes. */
  readonly seconds: number;
  /** Connections in flight while new ones are counted. */
  readonly atOnce: number;
  readonly workers?: number;
  /** Only these paths. Default: both. */
  readonly paths?: readonly string[];
  /** Beside direct. Default: all that this machine has. */
  readonly variants?: readonly string[];
  /** State directory of the testbed. */
  readonly state: string;
  readonly onProgress: (text: string) => void;
  /** Called between measurements. */
  readonly interrupted: () => boolean;
}

const slackMs = 30_000;
const seenMsMax = 10_000;

/** Creates the testbed, measures, removes the testbed. Throws if a measurement fails or the run is interrupted. */
export async function runL4(options: L4Options): Promise<Report> {
  const measuredPaths = paths.filter(({ name }) => options.paths?.includes(name) !== false);
  const { variants, envoy } = variantsOf(options);
  const { workers } = options;
  const scene = await Scene.create(
    scenePlanOf(variants),
    options.state,
    workers === undefined ? {} : { workers },
  );
  try {
    options.onProgress('starting two nodes');
    await scene.startMesh();
    await startServers(scene);
    await startProxies(scene, variants, envoy);
    for (const variant of variants)
      for (const path of measuredPaths) if (isMeasured(path, variant)) await prove(scene, path, variant);
    await sleep(500);
    const samples = await interleave<Path, Variant>({
      rounds: options.rounds,
      paths: measuredPaths,
      variants,
      isMeasured,
      tasks: tasksOf({ scene, ...options }),
      onProgress: (text) => {
        if (options.interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted, nothing is written');
        options.onProgress(text);
      },
    });
    const { rounds, seconds, atOnce } = options;
    return reportOf({ rounds, seconds, atOnce, messageBytes, largeMessageBytes }, samples);
  } finally {
    await scene.down();
  }
}

const isMeasured = ({ name }: Path, variant: Variant): boolean => variant.paths.includes(name);

/** Throws WEFT_BENCH_VARIANT for an unknown name. */
function variantsOf(options: Pick<L4Options, 'variants' | 'paths' | 'onProgress'>): {
  readonly variants: readonly Variant[];
  readonly envoy?: string;
} {
  for (const name of options.variants ?? [])
    if (!others.some((variant) => variant.name === name))
      throw new WeftError(
        'WEFT_BENCH_VARIANT',
        `no variant ${name}: there are ${others.map((variant) => variant.name).join(', ')}`,
      );
  const wanted = new Set(
    others
      .filter((variant) => variant.paths.some((path) => options.paths?.includes(path) !== false))
      .map(({ name }) => name)
      .filter((name) => options.variants?.includes(name) !== false),
  );
  const leaveOut = (name: string, why: string): void => {
    wanted.delete(name);
    options.onProgress(`without ${name}: ${why}`);
  };
  const ztunnel = wanted.has('ztunnel') ? findZtunnel() : undefined;
  if (ztunnel && 'missing' in ztunnel) leaveOut('ztunnel', ztunnel.missing);
  const envoy = wanted.has('sidecar') ? findEnvoy(undefined, options.onProgress) : undefined;
  if (envoy && 'missing' in envoy) leaveOut('sidecar', envoy.missing);
  return {
    variants: [direct, ...others.filter(({ name }) => wanted.has(name)), again],
    ...(envoy && 'path' in envoy ? { envoy: envoy.path } : {}),
  };
}

async function startServers(scene: Scene): Promise<void> {
  for (const { name, netns } of scene.pods) {
    if (name === 'client') continue;
    await scene.serve(netns, echoPort, loadProgram('echo'), [String(echoPort), String(cpuOf.server)]);
    await scene.serve(netns, sinkPort, loadProgram('sink'), [String(sinkPort), String(cpuOf.server)]);
  }
}

async function startProxies(
  scene: Scene,
  variants: readonly Variant[],
  envoy: string | undefined,
): Promise<void> {
  for (const { kind } of variants)
    for (const pod of scene.pods.filter(({ namespace }) => namespace === kind)) {
      if (kind === 'ztunnel') await scene.startZtunnel(pod);
      if (kind === 'sidecar' && envoy !== undefined)
        await scene.startSidecar(pod, envoy, [], availableParallelism());
    }
}

/**
 * Throws WEFT_BENCH_NOT_CARRIED if the connections do not take the path of the variant. It also opens the first connection of a pair,
 * which asks for its verdict: what is measured is what follows.
 */
async function prove(scene: Scene, path: Path, variant: Variant): Promise<void> {
  const { namespace, proxies, nodes } = endsOf(variant);
  const client = scene.pod(namespace, 'client').netns;
  const { ip, netns: server } = scene.pod(namespace, path.server);
  const pingpong = [ip, String(echoPort), '-1', '1', '50'];
  await until(`a response to ${variant.name}, ${path.name}`, seenMsMax, () =>
    runJson(client, loadProgram('pingpong'), pingpong, slackMs).then(
      () => true,
      () => false,
    ),
  );
  await run(client, 'bash', ['-c', `exec 3<>/dev/tcp/${ip}/${sinkPort}`]);
  const cell: MeshCell = { placement: path.name, variant: variant.kind, nodes, client, server, ip, proxies };
  let seen: Awaited<ReturnType<typeof evidenceOf>> = [];
  await until(`evidence of ${variant.name}, ${path.name}`, seenMsMax, async () => {
    seen = (await evidenceOf(scene, cell)).filter(({ what }) => !what.includes('http.'));
    return seen.every(({ value }) => (proxies.length === 0 ? value === 0 : value > 0));
  }).catch(() => {
    const found = seen.map(({ what, value }) => `${what} ${value}`).join('; ');
    throw new WeftError('WEFT_BENCH_NOT_CARRIED', `${variant.name} does not take its path: ${found}`);
  });
}
