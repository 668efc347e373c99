/** The options that `weft edges`, `weft stat` and `weft top` share. */
import type { Command } from 'commander';
import { meshOptions, namespaceOption, type MeshFlags } from '../place.js';
import type { EdgeFilterFlags } from './filter.js';
import { edgesSinceOption } from './since.js';

export interface EdgeFlags extends MeshFlags, EdgeFilterFlags {
  readonly since: number;
}

/** @param since how far back, if nothing is said */
export const edgeOptions = (command: Command, since: string): Command =>
  meshOptions(
    namespaceOption(command)
      .option('--from <name>', 'only of this client: NAMESPACE/WORKLOAD, WORKLOAD, NAMESPACE/ or an identity')
      .option('--to <name>', 'only to this destination: as --from, or NAMESPACE/SERVICE or SERVICE')
      .addOption(edgesSinceOption(since)),
  );
