/** Gets compiled meshes from the control plane's program, which reads manifests and clusters. */
import { existsSync } from 'node:fs';
import { Option, type Command } from 'commander';
import { WeftError } from '../../base/errors.js';
import { absentText } from '../../kubernetes/manifests.js';
import { decodeMeshes, type PolicyMeshes } from '../../state/snapshot.js';
import { systemNamespace } from '../cluster/system-namespace.js';
import { programs, sh } from '../run.js';
import { readLedger, stateDefault } from '../standalone/ledger.js';

/** Where the current state is. */
export interface CurrentFlags {
  readonly current?: readonly string[];
  readonly cluster?: boolean;
  readonly state: string;
  readonly rootNamespace: string;
}

export const rootOption = (): Option =>
  new Option('--root-namespace <name>', 'namespace whose policies apply to the whole mesh').default(
    systemNamespace,
  );

/** The options of commands that compare with the current state. */
export const currentOptions = (command: Command): Command =>
  command
    .option('--current <paths...>', 'manifests of the current state: files, or directories of them')
    .option('--cluster', 'the current state is that of the cluster of KUBECONFIG; nothing is changed in it')
    .option('--state <dir>', 'the current state is that of this testbed', stateDefault)
    .addOption(rootOption());

/** Errors: WEFT_SOURCE_MISSING, WEFT_COMMAND. @param apply paths of manifests that are applied to the current state */
export function policyMeshes(
  { current, cluster, state, rootNamespace }: CurrentFlags,
  apply: readonly string[],
): PolicyMeshes {
  const from = current ?? (cluster ? [] : testbedManifests(state));
  if (current && cluster)
    throw new WeftError('WEFT_SOURCE', 'give either --current, with manifests, or --cluster');
  const absent = [...from, ...apply].find((path) => !existsSync(path));
  if (absent !== undefined) throw new WeftError('WEFT_SOURCE_MISSING', absentText(absent));
  return decodeMeshes(
    sh(process.execPath, [
      programs.control,
      'policy-mesh',
      '--root-namespace',
      rootNamespace,
      ...(cluster ? ['--cluster'] : []),
      ...(from.length > 0 ? ['--current', ...from] : []),
      ...(apply.length > 0 ? ['--apply', ...apply] : []),
    ]),
  );
}

function testbedManifests(state: string): readonly string[] {
  const ledger = readLedger(state);
  if (ledger) return [ledger.from];
  throw new WeftError(
    'WEFT_SOURCE',
    `there is no testbed at ${state}: say with --current or --cluster what the current state is`,
  );
}
