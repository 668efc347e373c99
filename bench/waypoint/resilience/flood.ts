/** One of a thousand clients sends far more than its share: what the others feel. */
import { interleave } from '../../harness/interleave.js';
import { numberAt } from '../../harness/load.js';
import type { Sample } from '../../harness/statistics.js';
import {
  manyConnections,
  openConnections,
  openLoop,
  openWarmMs,
  type Path,
  type Target,
} from '../measure.js';
import { endAll, startProxy, type ResilienceBench } from './proxies.js';

export const flood: Path = { name: 'resilience-flood' };
/** Of all others together, a connection and an address each. */
export const quietPerSecond = 2_000;
/** As many again from one client: 20 times its limit. */
export const floodPerSecond = 2_000;
const others = manyConnections - 1;

export async function measureFlood(bench: ResilienceBench): Promise<Sample[]> {
  const targets: Target[] = [];
  for (const kind of bench.kinds) targets.push(await startProxy(bench, `${kind}-fair`, kind, 'fair'));
  const { longSeconds } = bench;
  const quiet = (target: Target): Promise<unknown> =>
    openLoop(target, quietPerSecond, others, longSeconds, openWarmMs, ['-s', String(others), '2']);
  for (const target of targets) await quiet(target);
  const samples = await interleave<Path, Target>({
    rounds: 2 * bench.rounds,
    paths: [flood],
    variants: [bench.none, ...targets],
    tasks: [
      {
        name: 'one client of a thousand floods',
        measure: async (_path, target) => {
          const before = numberAt(await quiet(target), 'p99_us');
          const [during, flooder] = await Promise.all([
            quiet(target),
            openLoop(target, floodPerSecond, openConnections, longSeconds + 0.5, 0, ['-s', '1', '1', '-r']),
          ]);
          const p99 = numberAt(during, 'p99_us');
          return {
            quiet: before,
            p99,
            ratio: p99 / before,
            refusedShare: numberAt(flooder, 'refused') / numberAt(flooder, 'requests'),
          };
        },
      },
    ],
    onProgress: bench.onProgress,
  });
  await endAll(bench, targets);
  return samples;
}
