/** `check-manifests`: prints the findings that `weft check -f` shows. */
import type { Command } from 'commander';
import { rootNamespaceText } from '../../src/base/option-texts.js';
import { rootNamespace } from '../compile/policies.js';
import { manifestFindings, manifestTexts } from '../problems/manifest-findings.js';

export function manifestsCommand(program: Command): void {
  program
    .command('check-manifests')
    .description('print the problems of manifests as JSON')
    .requiredOption('--from <paths...>', 'manifest files, or directories of them')
    .option('--root-namespace <name>', rootNamespaceText, rootNamespace)
    .action(({ from, rootNamespace: root }: { from: string[]; rootNamespace: string }) => {
      console.log(JSON.stringify(manifestFindings(manifestTexts(from), root)));
    });
}
