/** `check-manifests`: prints the findings that `weft check -f` shows. */
import type { Command } from 'commander';
import { rootNamespace } from '../compile/policies.js';
import { manifestFindings, manifestTexts } from '../problems/manifest-findings.js';

export function manifestsCommand(program: Command): void {
  program
    .command('check-manifests')
    .description('print the problems of manifests as JSON')
    .requiredOption('--from <paths...>', 'manifest files, or directories of them')
    .option('--root-namespace <name>', 'namespace whose policies apply to the whole mesh', rootNamespace)
    .action(({ from, rootNamespace: root }: { from: string[]; rootNamespace: string }) => {
      console.log(JSON.stringify(manifestFindings(manifestTexts(from), root)));
    });
}
