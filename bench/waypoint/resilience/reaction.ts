/** How soon an endpoint is ejected and a full Service refuses, and what an ejected endpoint costs the requests to the others. */
import { Agent } from 'node:http';
import { WeftError } from '../../../src/base/errors.js';
import { sleep, until } from '../../../src/base/wait.js';
import { interleave } from '../../harness/interleave.js';
import { numberAt } from '../../harness/load.js';
import type { Sample } from '../../harness/statistics.js';
import { openConnections, openLoop, type Path, type Target } from '../measure.js';
import type { ProxyKind } from '../plain-targets.js';
import { SwitchedEndpoint } from './endpoint.js';
import { endAll, startProxy, warm, type ResilienceBench } from './proxies.js';
import { send, type Outcome } from './requests.js';
import { few, intervalMs, type Features } from './scene.js';

export const reaction: Path = { name: 'resilience-reaction' };
export const ejected: Path = { name: 'resilience-ejected' };
const gapMs = 4;
const ejectedPerSecond = 2_000;
/** Requests without one to the failing endpoint that show that it is ejected: by chance one of three misses that many never. */
const proofRequests = 60;

async function withEndpoints<T>(count: number, work: (all: SwitchedEndpoint[]) => Promise<T>): Promise<T> {
  const all = Array.from({ length: count }, () => new SwitchedEndpoint());
  try {
    return await work(all);
  } finally {
    for (const one of all) one.close();
  }
}

/** Milliseconds from the first request to a failing endpoint to the last one, and how many there were. */
async function ejectionOf(
  bench: ResilienceBench,
  kind: ProxyKind,
  features: Features,
): Promise<{ readonly ms: number; readonly requests: number }> {
  return withEndpoints(3, async (endpoints) => {
    const ports: number[] = [];
    for (const one of endpoints) ports.push(await one.listen());
    const [bad] = endpoints;
    if (!bad) throw new RangeError('no endpoint');
    bad.behavior = 'fail';
    const target = await startProxy(bench, `${kind}-${features}`, kind, features, ports);
    const agent = new Agent({ keepAlive: true, maxSockets: 8 });
    const pending: Promise<Outcome>[] = [];
    const began = performance.now();
    while (performance.now() - began < 2.5 * intervalMs) {
      pending.push(send(target.port, agent));
      await sleep(gapMs);
    }
    await Promise.all(pending);
    agent.destroy();
    await endAll(bench, [target]);
    const { times } = bad;
    return { ms: (times.at(-1) ?? 0) - (times[0] ?? 0), requests: times.length };
  });
}

/** Requests that got past the limit while as many as it allows were under way, and the time until one is refused. */
async function breakingOf(
  bench: ResilienceBench,
  kind: ProxyKind,
): Promise<{ readonly past: number; readonly refusedMs: number; readonly recovered: number }> {
  return withEndpoints(1, async ([endpoint]) => {
    if (!endpoint) throw new RangeError('no endpoint');
    const port = await endpoint.listen();
    endpoint.behavior = 'hang';
    const target = await startProxy(bench, `${kind}-breaker`, kind, 'breaker', [port]);
    const agent = new Agent({ keepAlive: true, maxSockets: 256 });
    const held = Array.from({ length: few }, () => send(target.port, agent));
    await until('the Service is full', 5_000, () => endpoint.times.length >= few);
    const refused: Outcome[] = [];
    for (let i = 0; i < 100; i++) refused.push(await send(target.port, agent));
    const past = endpoint.times.length - few;
    const wrong = refused.filter(({ status }) => status !== 503).length;
    if (wrong > 0)
      throw new WeftError('WEFT_BENCH_NOT_CARRIED', `${target.name}: ${wrong} of 100 requests got no 503`);
    endpoint.release();
    await Promise.all(held);
    const { status } = await send(target.port, agent);
    agent.destroy();
    await endAll(bench, [target]);
    const times = refused.map(({ ms }) => ms).sort((a, b) => a - b);
    return { past, refusedMs: times[times.length >> 1] ?? 0, recovered: status === 200 ? 1 : 0 };
  });
}

export function measureReaction(bench: ResilienceBench): Promise<Sample[]> {
  return interleave<Path, { readonly name: ProxyKind }>({
    rounds: bench.rounds,
    paths: [reaction],
    variants: bench.kinds.map((name) => ({ name })),
    tasks: [
      {
        name: 'ejection and circuit breaking',
        measure: async (_path, { name }) => {
          const consecutive = await ejectionOf(bench, name, 'ejection');
          const share = await ejectionOf(bench, name, 'share');
          const { past, refusedMs, recovered } = await breakingOf(bench, name);
          return {
            ejectionMs: consecutive.ms,
            ejectionRequests: consecutive.requests,
            shareMs: share.ms,
            shareRequests: share.requests,
            past,
            refusedMs,
            recovered,
          };
        },
      },
    ],
    onProgress: bench.onProgress,
  });
}

/** p99 in an open loop with three good endpoints, and with one of three ejected. */
export async function measureEjected(bench: ResilienceBench): Promise<Sample[]> {
  return withEndpoints(1, async ([bad]) => {
    if (!bad) throw new RangeError('no endpoint');
    bad.behavior = 'fail';
    const badPort = await bad.listen();
    const targets: Target[] = [];
    for (const kind of bench.kinds) {
      targets.push(await startProxy(bench, `${kind}-good`, kind, 'ejection'));
      const others = [...bench.endpoints.slice(0, 2), badPort];
      const target = await startProxy(bench, `${kind}-ejected`, kind, 'ejection', others);
      await untilEjected(target, bad);
      targets.push(target);
    }
    for (const target of targets) await warm(bench, target);
    const samples = await interleave<Path, Target>({
      rounds: 2 * bench.rounds,
      paths: [ejected],
      variants: [bench.none, ...targets],
      tasks: [
        {
          name: `${ejectedPerSecond} requests a second`,
          measure: async (_path, target) => {
            const before = bad.times.length;
            const result = await openLoop(target, ejectedPerSecond, openConnections, bench.longSeconds);
            if (bad.times.length > before)
              throw new WeftError('WEFT_BENCH_NOT_CARRIED', `${target.name} used the ejected endpoint`);
            return { p50: numberAt(result, 'p50_us'), p99: numberAt(result, 'p99_us') };
          },
        },
      ],
      onProgress: bench.onProgress,
    });
    await endAll(bench, targets);
    return samples;
  });
}

async function untilEjected(target: Target, bad: SwitchedEndpoint): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  await until(`${target.name} ejects an endpoint`, 20_000, async () => {
    const before = bad.times.length;
    for (let i = 0; i < proofRequests; i++) await send(target.port, agent);
    return bad.times.length > 0 && bad.times.length === before;
  });
  agent.destroy();
}
