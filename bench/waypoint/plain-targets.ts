/** Proxies with plain connections on both sides. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { distRoot } from '../../src/cli/run.js';
import { cpuOf, type Servers } from '../harness/load.js';
import { workerNodeFlags } from '../../src/waypoint/worker/node-flags.js';
import type { FoundEnvoy } from '../peers/envoy.js';
import { envoyArgs, envoyConfig } from './envoy.js';
import type { Target } from './measure.js';
import type { Scene } from './scene.js';
import { weftConfig } from './weft.js';

export interface PlainTargetOptions {
  readonly servers: Servers;
  readonly dir: string;
  readonly envoy: FoundEnvoy;
  readonly nodeFlags: readonly string[];
}

/** A proxy that is not started yet. */
export function plainTarget(
  { servers, dir, envoy, nodeFlags }: PlainTargetOptions,
  name: string,
  kind: 'weft' | 'envoy',
  scene: Scene,
): Target {
  const file = join(dir, `${name}.json`);
  writeFileSync(file, kind === 'weft' ? weftConfig(scene) : envoyConfig(scene));
  const command =
    kind === 'weft'
      ? [
          process.execPath,
          ...workerNodeFlags,
          ...nodeFlags,
          join(distRoot, 'bench', 'waypoint', 'plain.js'),
          file,
        ]
      : ['path' in envoy ? envoy.path : '', ...envoyArgs(file)];
  const start = (): Promise<number> =>
    servers.start(undefined, scene.listen, 'taskset', ['-c', String(cpuOf.server), ...command]);
  return { name, port: scene.listen, start };
}
