/** `weft install`, `weft uninstall`, `weft waypoint`, and the cluster's side of `weft check` and `weft status`. */
import { Command } from 'commander';
import { installationOption } from '../place.js';
import { loadKubeConfig } from '../../kubernetes/config.js';
import type { Finding } from '../../findings/finding.js';
import { checkCluster, findingLines } from './check.js';
import { installCommand } from './install-command.js';
import { uninstall } from './install.js';
import { clusterLines, clusterStatus } from './status.js';
import { waypointCommand } from './waypoint.js';

export interface ClusterFlags {
  readonly namespace: string;
  readonly json?: boolean;
  readonly all?: boolean;
}

export async function printClusterStatus({ namespace, json, all }: ClusterFlags): Promise<void> {
  const status = await clusterStatus(await loadKubeConfig(), namespace);
  console.log(
    json === true ? JSON.stringify(status) : [...clusterLines(status, all === true, Date.now())].join('\n'),
  );
  process.exitCode = status.ok ? 0 : 1;
}

const failed = (findings: readonly Finding[]): boolean => findings.some(({ level }) => level === 'fail');

/** Sets exit code 1 if a finding is a failure. */
export function printFindings(findings: readonly Finding[], json: boolean | undefined): void {
  console.log(json === true ? JSON.stringify(findings) : [...findingLines(findings)].join('\n'));
  process.exitCode = failed(findings) ? 1 : 0;
}

export async function printClusterCheck({ namespace, json }: ClusterFlags): Promise<void> {
  printFindings(await checkCluster(await loadKubeConfig(), namespace), json);
}

export function clusterCommands(): Command[] {
  return [
    installCommand(),
    installationOption(
      new Command('uninstall').description('unenroll every pod, then remove Weft from the cluster'),
    )
      .option('--crds', 'delete the CRDs too, and with them every policy')
      .action(async (options: { namespace: string; crds?: boolean }) => {
        process.exitCode = await uninstall(await loadKubeConfig(), options.namespace, options.crds === true);
      }),
    waypointCommand(),
  ];
}
