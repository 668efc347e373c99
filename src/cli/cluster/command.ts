/** `weft install`, `weft uninstall`, `weft waypoint`, and the cluster's side of `weft check` and `weft status`. */
import { Command } from 'commander';
import { loadKubeConfig } from '../../kubernetes/config.js';
import { checkCluster, findingLines, isInstalled, type Finding } from './check.js';
import { install, uninstall } from './install.js';
import { clusterLines, clusterStatus } from './status.js';
import { waypointCommand } from './waypoint.js';

export const systemNamespace = 'weft-system';

export interface ClusterFlags {
  readonly namespace: string;
  readonly json?: boolean;
  readonly all?: boolean;
}

/** By a flag, or where KUBECONFIG says which cluster. */
export const wantsCluster = (flag: boolean | undefined): boolean =>
  flag ?? (process.env['KUBECONFIG'] ?? '') !== '';

export async function printClusterStatus({ namespace, json, all }: ClusterFlags): Promise<void> {
  const status = await clusterStatus(await loadKubeConfig(), namespace);
  console.log(
    json === true ? JSON.stringify(status) : [...clusterLines(status, all === true, Date.now())].join('\n'),
  );
  process.exitCode = status.ok ? 0 : 1;
}

const failed = (findings: readonly Finding[]): boolean => findings.some(({ level }) => level === 'fail');

/** Exit code 1 where one fails. */
export function printFindings(findings: readonly Finding[], json: boolean | undefined): void {
  console.log(json === true ? JSON.stringify(findings) : [...findingLines(findings)].join('\n'));
  process.exitCode = failed(findings) ? 1 : 0;
}

export async function printClusterCheck({ namespace, json }: ClusterFlags): Promise<void> {
  printFindings(await checkCluster(await loadKubeConfig(), namespace), json);
}

export function clusterCommands(): Command[] {
  return [
    new Command('install')
      .description('put Weft on the cluster of KUBECONFIG, or bring what is there to this version')
      .option('-n, --namespace <name>', 'where its parts run', systemNamespace)
      .option('--skip-check', 'do not look first for what stands in the way')
      .argument('[helm arguments...]', 'after --: given to helm, like --set cni.enabled=false')
      .action(async (more: string[], options: { namespace: string; skipCheck?: boolean }) => {
        const config = await loadKubeConfig();
        if (options.skipCheck !== true) {
          const findings = await checkCluster(config, options.namespace);
          for (const line of findingLines(findings.filter(({ level }) => level !== 'ok'))) console.log(line);
          // An upgrade may be about to mend what is wrong.
          if (failed(findings) && !(await isInstalled(config, options.namespace))) {
            console.error('weft: not installed; --skip-check does it all the same');
            process.exitCode = 1;
            return;
          }
        }
        const code = await install(config, options.namespace, more);
        if (code !== 0) {
          process.exitCode = code;
          return;
        }
        await printClusterStatus(options);
      }),
    new Command('uninstall')
      .description('take every pod out of the mesh, then Weft off the cluster')
      .option('-n, --namespace <name>', 'where its parts run', systemNamespace)
      .option('--crds', "delete Weft's kinds too, and with them every policy")
      .action(async (options: { namespace: string; crds?: boolean }) => {
        process.exitCode = await uninstall(await loadKubeConfig(), options.namespace, options.crds === true);
      }),
    waypointCommand(),
  ];
}
