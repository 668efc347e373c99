/** Starts the proxies of this suite's parts. */
import { WeftError } from '../../../src/base/errors.js';
import type { Servers } from '../../harness/load.js';
import { closedLoop, openConnections, type Target } from '../measure.js';
import { configuredTarget, type PlainTargetOptions, type ProxyKind } from '../plain-targets.js';
import { freePorts } from '../scene.js';
import { resilientEnvoy } from './envoy.js';
import type { Features } from './scene.js';
import { resilientWeft } from './weft.js';

/** What a part of the suite measures with. */
export interface ResilienceBench extends PlainTargetOptions {
  readonly servers: Servers;
  readonly rounds: number;
  readonly seconds: number;
  readonly longSeconds: number;
  /** Those that are there. */
  readonly kinds: readonly ProxyKind[];
  /** The endpoints under load, and their own target: a measurement without a proxy. */
  readonly endpoints: readonly number[];
  readonly none: Target;
  readonly onProgress: (text: string) => void;
}

/** Starts a proxy with these features before these endpoints. */
export async function startProxy(
  bench: ResilienceBench,
  name: string,
  kind: ProxyKind,
  features: Features,
  endpoints: readonly number[] = bench.endpoints,
): Promise<Target & { readonly pid: number }> {
  const [listen = 0] = await freePorts(1);
  const scene = { listen, endpoints, features };
  const config = kind === 'weft' ? resilientWeft(scene) : resilientEnvoy(scene);
  const target = configuredTarget(bench, name, kind, listen, config);
  bench.onProgress(`starting ${name}`);
  const pid = await target.start?.();
  if (pid === undefined) throw new WeftError('WEFT_START', `${name} was not started`);
  return { ...target, pid };
}

/** Lets a proxy compile what it runs often. */
export async function warm(bench: ResilienceBench, target: Target, keys?: number): Promise<void> {
  bench.onProgress(`warming up ${target.name}`);
  await closedLoop(target, openConnections, bench.longSeconds, keys);
}

export async function endAll(bench: ResilienceBench, targets: readonly Target[]): Promise<void> {
  for (const { pid } of targets) if (pid !== undefined) await bench.servers.end(pid);
}
