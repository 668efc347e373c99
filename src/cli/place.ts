/** Which mesh a command is about: a testbed of this machine, or the cluster of KUBECONFIG. */
import type { Command } from 'commander';

import { systemNamespace } from './cluster/system-namespace.js';
import { stateDefault } from './standalone/ledger.js';
import { wantsCluster } from './wants-cluster.js';

export interface MeshFlags {
  readonly state?: string;
  readonly kubernetes?: boolean;
}
export interface PlaceFlags extends MeshFlags {
  /** The namespace of the control plane. */
  readonly rootNamespace: string;
}

/** Adds the options that say which mesh is meant. */
export const meshOptions = (command: Command): Command =>
  command
    .option(
      '--state <dir>',
      `state directory of a testbed or of a control plane (default: ${stateDefault}, or the cluster of KUBECONFIG)`,
    )
    .option('--kubernetes', 'the cluster even without KUBECONFIG')
    .option('--no-kubernetes', 'not the cluster even with KUBECONFIG');

/** The same, and the namespace of the control plane. */
export const placeOptions = (command: Command): Command =>
  meshOptions(command).option(
    '--root-namespace <name>',
    'namespace of the control plane, whose policies apply to the whole mesh',
    systemNamespace,
  );

/** Whether the mesh is that of a cluster. */
export const isOfCluster = ({ state, kubernetes }: MeshFlags): boolean =>
  state === undefined && wantsCluster(kubernetes);
/** The state directory of the testbed. */
export const stateOf = ({ state = stateDefault }: MeshFlags): string => state;
