/** Commands that act on a cluster. The chart's jobs run them before an upgrade, as a test, and before an uninstall. */
import type { Command } from 'commander';
import { loadKubeConfig } from '../../src/kubernetes/config.js';
import { applyCrds } from '../../src/kubernetes/crds.js';
import { requestAgents } from '../kubernetes/agents.js';
import { releaseNodes } from '../kubernetes/release.js';
import { crdDir } from '../source/schemas.js';

export function clusterCommands(program: Command): void {
  program
    .command('release-nodes')
    .description('unenroll every pod, so that agents leave nothing behind when they end')
    .option('--namespace <name>', 'namespace of the control plane', 'weft-system')
    .option('--deployment <name>', 'Deployment of the control plane', 'weft-control')
    .action(async ({ namespace, deployment }: { namespace: string; deployment: string }) => {
      await releaseNodes(await loadKubeConfig(), namespace, deployment);
      console.log('every pod is unenrolled');
    });
  program
    .command('check-nodes')
    .description('check whether every agent is ready; exit code 1 if one is not')
    .option('--namespace <name>', 'namespace of the agents', 'weft-system')
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
    .description("update Weft's CRDs in the API server to this version")
    .action(async () => {
      for (const name of await applyCrds(await loadKubeConfig(), crdDir())) console.log(`applied ${name}`);
    });
}
