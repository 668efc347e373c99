/** The features of traffic policies, on and off, beside an Envoy that does the same: `npm run bench -- waypoint --only resilience`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '../../../src/base/errors.js';
import { cpuOf, loadProgram, Servers } from '../../harness/load.js';
import type { Sample } from '../../harness/statistics.js';
import { findEnvoy } from '../../peers/envoy.js';
import { bodyBytes, freePorts } from '../scene.js';
import type { WaypointOptions } from '../suite.js';
import { needTools } from '../tools.js';
import { measureCost, measureKeys } from './cost.js';
import { measureFlood } from './flood.js';
import { measureGlobal } from './global.js';
import type { ResilienceBench } from './proxies.js';
import { measureEjected, measureReaction } from './reaction.js';
import { resilienceReportOf, type ResilienceReport } from './report.js';

/** As runWaypoint. */
export async function runResilience(options: WaypointOptions): Promise<ResilienceReport> {
  if (availableParallelism() < 2)
    throw new WeftError('WEFT_START', 'one CPU is not enough: the proxy needs one for itself');
  needTools(['wrk', 'redis-server'], options.onProgress);
  const envoy = findEnvoy(options.envoy, options.onProgress);
  const dir = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const servers = new Servers();
  const onProgress = (text: string): void => {
    if (options.interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted, nothing is written');
    options.onProgress(text);
  };
  try {
    const endpoints = await freePorts(3);
    const [first = 0] = endpoints;
    await servers.start(undefined, first, loadProgram('responder'), [
      String(cpuOf.client),
      String(bodyBytes),
      ...endpoints.flatMap((port, at) => [String(at), String(port)]),
    ]);
    const bench: ResilienceBench = {
      ...options,
      servers,
      dir,
      envoy,
      kinds: 'path' in envoy ? ['envoy', 'weft'] : ['weft'],
      endpoints,
      none: { name: 'none', port: first },
      onProgress,
    };
    const samples: Sample[] = [];
    const parts = [measureCost, measureKeys, measureReaction, measureEjected, measureFlood, measureGlobal];
    for (const measure of parts) samples.push(...(await measure(bench)));
    return resilienceReportOf(options, samples, envoy);
  } finally {
    await servers.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}
