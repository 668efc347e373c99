/** Which mesh a command is about: a testbed of this machine, or the cluster of KUBECONFIG. */
import type { Command } from 'commander';

import { rootNamespaceText } from '../base/option-texts.js';
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

/** Adds the options that say whether the cluster is meant. */
export const clusterOptions = (command: Command): Command =>
  command
    .option('--kubernetes', 'the cluster even without KUBECONFIG')
    .option('--no-kubernetes', 'not the cluster even with KUBECONFIG');

/** Adds the options that say which mesh is meant. */
export const meshOptions = (command: Command): Command =>
  clusterOptions(
    command.option(
      '--state <dir>',
      `${stateText} or of a control plane (default: ${stateDefault}, or the cluster of KUBECONFIG)`,
    ),
  );

const stateText = 'state directory of a testbed';
/** Of commands that are about a testbed. */
export const stateOption = (command: Command): Command =>
  command.option('--state <dir>', stateText, stateDefault);

/** Of commands that are about an installation in a cluster. */
export const installationOption = (command: Command): Command =>
  command.option('-n, --namespace <name>', 'namespace of the installation', systemNamespace);

/** Of commands that show a part of what they know. */
export const namespaceOption = (command: Command): Command =>
  command.option('-n, --namespace <name>', 'only what concerns this namespace (default: all)');

/** @param more what programs have to know */
export const jsonOption = (command: Command, more = ''): Command =>
  command.option('--json', `print JSON for programs${more}`);

export const rootNamespaceOption = (command: Command): Command =>
  command.option('--root-namespace <name>', rootNamespaceText, systemNamespace);

/** The options of `meshOptions`, and the namespace of the control plane. */
export const placeOptions = (command: Command): Command => rootNamespaceOption(meshOptions(command));

/** Whether the mesh is that of a cluster. */
export const isOfCluster = ({ state, kubernetes }: MeshFlags): boolean =>
  state === undefined && wantsCluster(kubernetes);
/** The state directory of the testbed. */
export const stateOf = ({ state = stateDefault }: MeshFlags): string => state;
