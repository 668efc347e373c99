/** Gets compiled meshes from the control plane's program, which reads manifests and clusters. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { WeftError } from '../../base/errors.js';
import { absentText } from '../../kubernetes/manifests.js';
import { decodeMeshes, type PolicyMeshes } from '../../state/snapshot.js';
import { programs, sh, shAsync } from '../run.js';
import { readLedger } from '../standalone/ledger.js';
import { isOfCluster, stateOf, type PlaceFlags } from '../place.js';

/** Where the current state is. */
export interface CurrentFlags extends PlaceFlags {
  readonly current?: readonly string[];
}

/** Adds the option that says where the current state is. */
export const currentOption = (command: Command): Command =>
  command.option(
    '--current <paths...>',
    'manifests of the current state: files, or directories of them (default: the objects of the testbed or of the cluster)',
  );

/**
 * The current state, and the state with further manifests applied. Errors: WEFT_SOURCE, WEFT_SOURCE_MISSING, WEFT_COMMAND.
 * @param currentName the option that `current` is the value of
 */
export function policyMeshes(
  flags: CurrentFlags,
  apply: readonly string[],
  currentName = '--current',
): PolicyMeshes {
  const { current, args } = currentOf(flags, currentName);
  return compiledMeshes(args, [...current, ...apply], apply, flags.rootNamespace);
}

/** The paths of the current state, none for a cluster, and the arguments that say where it is. */
function currentOf(
  flags: CurrentFlags,
  currentName: string | undefined,
): { readonly current: readonly string[]; readonly args: readonly string[] } {
  const isCluster = flags.current === undefined && isOfCluster(flags);
  const current = flags.current ?? (isCluster ? [] : testbedManifests(stateOf(flags), currentName));
  return {
    current,
    args: [...(isCluster ? ['--kubernetes'] : []), ...(current.length > 0 ? ['--current', ...current] : [])],
  };
}

/**
 * The current state, without blocking this program meanwhile. Errors: those of policyMeshes.
 * @param namespace of a cluster: its objects are read where the account may not read those of all namespaces
 */
export async function currentMesh(flags: CurrentFlags, namespace?: string): Promise<PolicyMeshes> {
  const { args } = currentOf(flags, undefined);
  return decodeMeshes(
    await shAsync(process.execPath, [
      programs.control,
      'policy-mesh',
      '--root-namespace',
      flags.rootNamespace,
      ...(namespace === undefined ? [] : ['--namespace', namespace]),
      ...args,
    ]),
  );
}

/** The compiled mesh of manifests alone. */
export const manifestMesh = (paths: readonly string[], rootNamespace: string): PolicyMeshes =>
  compiledMeshes([], paths, paths, rootNamespace);

function compiledMeshes(
  current: readonly string[],
  paths: readonly string[],
  apply: readonly string[],
  rootNamespace: string,
): PolicyMeshes {
  const absent = paths.find((path) => !existsSync(path));
  if (absent !== undefined) throw new WeftError('WEFT_SOURCE_MISSING', absentText(absent));
  const applied = apply.length > 0 ? ['--apply', ...apply] : [];
  const root = ['--root-namespace', rootNamespace];
  return decodeMeshes(
    sh(process.execPath, [programs.control, 'policy-mesh', ...root, ...current, ...applied]),
  );
}

/**
 * Files and directories with the objects of a testbed. Error: WEFT_SOURCE, if there is no testbed.
 * @param currentName the option for manifests in place of a testbed, if the command has one
 */
export function testbedManifests(state: string, currentName?: string): readonly string[] {
  const ledger = readLedger(state);
  // The testbed itself writes the pods of waypoints.
  const rendered = join(state, 'rendered');
  if (ledger) return [ledger.from, ...(existsSync(rendered) ? [rendered] : [])];
  throw new WeftError(
    'WEFT_SOURCE',
    `there is no testbed at ${state}: pass ${currentName === undefined ? '' : `${currentName} FILES for manifests, `}--state DIR for another testbed, or --kubernetes for a cluster; weft standalone up starts a testbed`,
  );
}
