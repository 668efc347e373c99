/** Commands that act on a cluster: the chart's jobs run them before an upgrade, as a test, and before an uninstall. */
import type { Command } from 'commander';
import { loadKubeConfig } from '../../src/kubernetes/config.js';
import { applyCrds } from '../../src/kubernetes/crds.js';
import { requestAgents } from '../kubernetes/agents.js';
import { releaseNodes } from '../kubernetes/release.js';
import { crdDir } from '../source/validate.js';

export function clusterCommands(program: Command): void {
  program
    .command('release-nodes')
    .description('take every pod out of the mesh, so that agents leave nothing behind when they end')
    .option('--namespace <name>', 'of the control plane', 'weft-system')
    .option('--deployment <name>', 'the control plane', 'weft-control')
    .action(async ({ namespace, deployment }: { namespace: string; deployment: string }) => {
      await releaseNodes(await loadKubeConfig(), namespace, deployment);
      console.log('every pod is out of the mesh');
    });
  program
    .command('check-nodes')
    .description('ask every agent whether it is ready: exit code 1 where one is not')
    .option('--namespace <name>', 'of the agents', 'weft-system')
    .action(async ({ namespace }: { namespace: string }) => {
      const responses = await requestAgents(await loadKubeConfig(), namespace, '/healthz/ready');
      for (const { node, status, text } of responses) {
        console.log(`${node}: ${status === 200 ? 'ready' : `not ready: ${text}`}`);
        if (status !== 200) process.exitCode = 1;
      }
      if (responses.length > 0) return;
      console.log(`no agents run in ${namespace}`);
      process.exitCode = 1;
    });
  program
    .command('apply-crds')
    .description("bring Weft's own kinds in the API server to this version")
    .action(async () => {
      for (const name of await applyCrds(await loadKubeConfig(), crdDir())) console.log(`applied ${name}`);
    });
}
