/** What features cost that do not act: CPU per request with and without them, and with many keys against one. */
import { interleave } from '../../harness/interleave.js';
import type { Sample } from '../../harness/statistics.js';
import { closedTask, type Path, type Target } from '../measure.js';
import { endAll, startProxy, warm, type ResilienceBench } from './proxies.js';
import { keysMax, type Features } from './scene.js';

export const cost: Path = { name: 'resilience' };
export const keyed: Path = { name: 'resilience-keys' };
/** Connections of the closed loop. */
export const costConnections = 16;
/** A difference of 5 % wants more rounds than one of 20 %. */
const roundsFactor = 3;

/** Beside the feature's proxy, one without, and a second one without: the difference between the latter is the noise. */
export async function measureCost(bench: ResilienceBench): Promise<Sample[]> {
  const targets: Target[] = [];
  for (const kind of bench.kinds) {
    const variants: readonly (readonly [string, Features])[] = [
      [kind, 'none'],
      [`${kind}-again`, 'none'],
      [`${kind}-all`, 'all'],
    ];
    for (const [name, features] of variants) targets.push(await startProxy(bench, name, kind, features));
  }
  for (const target of targets) await warm(bench, target);
  const samples = await interleave<Path, Target>({
    rounds: roundsFactor * bench.rounds,
    paths: [cost],
    variants: targets,
    tasks: [closedTask(costConnections, bench.seconds)],
    onProgress: bench.onProgress,
  });
  await endAll(bench, targets);
  return samples;
}

/** The same limit under requests of one client and of many, round robin: each request is of another key than the one before. */
export async function measureKeys(bench: ResilienceBench): Promise<Sample[]> {
  const targets: (Target & { readonly keys: number })[] = [];
  for (const kind of bench.kinds)
    for (const keys of [1, keysMax]) {
      const target = await startProxy(bench, `${kind}-${keys}`, kind, 'keys');
      targets.push({ ...target, keys });
    }
  for (const target of targets) await warm(bench, target, target.keys);
  const samples = await interleave<Path, Target & { readonly keys: number }>({
    rounds: bench.rounds,
    paths: [keyed],
    variants: targets,
    tasks: [
      {
        name: 'keys',
        measure: (path, target) =>
          closedTask(costConnections, bench.seconds, target.keys).measure(path, target),
      },
    ],
    onProgress: bench.onProgress,
  });
  await endAll(bench, targets);
  return samples;
}
