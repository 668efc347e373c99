/** `check-manifests`: what `weft check -f` prints. */
import type { Command } from 'commander';
import { rootNamespace } from '../compile/policies.js';
import { manifestFindings, manifestTexts } from '../problems/manifest-findings.js';

export function manifestsCommand(program: Command): void {
  program
    .command('check-manifests')
    .description('say what is wrong with manifests, as JSON')
    .requiredOption('--from <paths...>', 'files, or directories of them')
    .option('--root-namespace <name>', 'whose policies apply to the whole mesh', rootNamespace)
    .action(({ from, rootNamespace: root }: { from: string[]; rootNamespace: string }) => {
      console.log(JSON.stringify(manifestFindings(manifestTexts(from), root)));
    });
}
