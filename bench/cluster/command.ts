/** `npm run bench -- cluster`. */
import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { loadKubeConfig } from '../../src/kubernetes/config.js';
import { within } from '../harness/options.js';
import { htmlReport } from '../report/html.js';
import { printResult } from '../report/terminal.js';
import { removeLeft, runCluster } from './suite.js';

interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly variants?: readonly string[];
  readonly image: string;
  readonly kubeconfig?: string;
  readonly clientNode?: string;
  readonly serverNode?: string;
  readonly perSecond?: number;
  readonly json?: string;
  readonly html?: string;
  readonly remove?: true;
}

/** Exit code of a program that SIGINT ended, as in a shell. */
const interruptedCode = 130;

async function run(options: Options): Promise<void> {
  if (options.kubeconfig !== undefined) process.env['KUBECONFIG'] = options.kubeconfig;
  const onProgress = (text: string): void => console.error(text);
  if (options.remove) {
    const removed = await removeLeft(await loadKubeConfig());
    console.log(removed.length === 0 ? 'nothing was left' : `removed ${removed.join(', ')}`);
    return;
  }
  let interrupted = false;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!interrupted) onProgress('interrupted: ending in order');
      interrupted = true;
    });
  }
  const result = await runCluster({ ...options, onProgress, interrupted: () => interrupted });
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(result, null, 1)}\n`);
  if (options.html !== undefined) writeFileSync(options.html, htmlReport(result));
  console.log(printResult(result, { width: process.stdout.columns ?? 120 }));
  if (result.interrupted) process.exitCode = interruptedCode;
}

export const clusterCommand = (): Command =>
  new Command('cluster')
    .description('no mesh, sidecars and Weft in the cluster of KUBECONFIG, by Jobs: docs/bench-cluster.md')
    .option('--rounds <n>', 'how often all is measured', within(1, 1000, true), 5)
    .option('--seconds <s>', 'how long each measurement takes', within(0.5, 60, false), 2)
    .option('--variants <name...>', 'some variants alone; no mesh is always there, twice')
    .option('--image <name>', 'as bench/chart/Dockerfile builds it', 'weft-bench:0.1.0')
    .option('--kubeconfig <file>', 'of the cluster, in place of KUBECONFIG')
    .option('--client-node <name>', 'where the client runs; the first by name that takes pods where absent')
    .option('--server-node <name>', 'where the server of cross-node runs; the next where absent')
    .option(
      '--per-second <n>',
      'requests a second of the open loops; shares of what the slowest variant does where absent',
      within(16, 100_000, true),
    )
    .option('--json <file>', 'write the result')
    .option('--html <file>', 'write the result as one page')
    .option('--remove', 'take away what a run that was killed left, and end')
    .action(run);
