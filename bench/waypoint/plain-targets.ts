/** Proxies with plain connections on both sides. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { distRoot } from '../../src/cli/run.js';
import { cpuOf, type Servers } from '../harness/load.js';
import { servingNodeFlags } from '../../src/base/node-flags.js';
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

export type ProxyKind = 'weft' | 'envoy';

/** A proxy that is not started yet. */
export const plainTarget = (
  options: PlainTargetOptions,
  name: string,
  kind: ProxyKind,
  scene: Scene,
): Target =>
  configuredTarget(
    options,
    name,
    kind,
    scene.listen,
    kind === 'weft' ? weftConfig(scene) : envoyConfig(scene),
  );

/** The same with the text of its configuration file. @param listen the port that it says */
export function configuredTarget(
  { servers, dir, envoy, nodeFlags }: PlainTargetOptions,
  name: string,
  kind: ProxyKind,
  listen: number,
  config: string,
): Target {
  const file = join(dir, `${name}.json`);
  writeFileSync(file, config);
  const command =
    kind === 'weft'
      ? [
          process.execPath,
          ...servingNodeFlags,
          ...nodeFlags,
          join(distRoot, 'bench', 'waypoint', 'plain.js'),
          file,
        ]
      : ['path' in envoy ? envoy.path : '', ...envoyArgs(file)];
  const start = (): Promise<number> =>
    servers.start(undefined, listen, 'taskset', ['-c', String(cpuOf.server), ...command]);
  return { name, port: listen, start };
}
