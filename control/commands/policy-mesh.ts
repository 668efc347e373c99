/** `policy-mesh`: prints the compiled mesh of manifests, for `weft policy`. */
import type { Command } from 'commander';
import { rootNamespaceText } from '../../src/base/option-texts.js';
import { loadKubeConfig } from '../../src/kubernetes/config.js';
import { encodeMeshes } from '../../src/state/snapshot.js';
import { rootNamespace } from '../compile/policies.js';
import { loadCluster } from '../migrate/cluster.js';
import { migrateTexts } from '../migrate/load.js';
import { policyMeshes } from '../policy-mesh/policy-mesh.js';

interface Flags {
  readonly current?: readonly string[];
  readonly kubernetes?: boolean;
  readonly apply?: readonly string[];
  readonly rootNamespace: string;
  readonly namespace?: string;
}

export function policyMeshCommand(program: Command): void {
  program
    .command('policy-mesh')
    .description('print the compiled mesh of manifests, in a form for programs of the same build')
    .option('--current <paths...>', 'manifests of the current state: files, or directories')
    .option('--kubernetes', 'the current state is that of the cluster of KUBECONFIG')
    .option('--apply <paths...>', 'manifests that are applied to it')
    .option('--root-namespace <name>', rootNamespaceText, rootNamespace)
    .option(
      '--namespace <name>',
      'of a cluster: read its objects where those of all namespaces may not be read',
    )
    .action(async ({ current = [], kubernetes, apply = [], rootNamespace: root, namespace }: Flags) => {
      const before = kubernetes
        ? await loadCluster(await loadKubeConfig(), namespace)
        : current.length > 0
          ? migrateTexts(current)
          : [];
      const applied = apply.length > 0 ? migrateTexts(apply) : [];
      process.stdout.write(encodeMeshes(policyMeshes(before, applied, root)));
    });
}
