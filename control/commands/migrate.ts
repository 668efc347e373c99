/** `weft migrate`: what Weft does with the configuration of another mesh, and the same configuration in Weft's own kinds. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { rootNamespaceText } from '../../src/base/option-texts.js';
import { WeftError } from '../../src/base/errors.js';
import { UsageError } from '../../src/base/usage.js';
import { loadKubeConfig } from '../../src/kubernetes/config.js';
import { rootNamespace } from '../compile/policies.js';
import { migrateReport } from '../migrate/check.js';
import { loadCluster } from '../migrate/cluster.js';
import { convert, type ConvertedFile } from '../migrate/convert/convert.js';
import { loadTexts, migrateTexts } from '../migrate/load.js';
import { isComplete, reportLines } from '../migrate/report.js';

interface CheckFlags {
  readonly from?: readonly string[];
  readonly cluster?: boolean;
  readonly rootNamespace: string;
  readonly output: 'text' | 'json';
}

async function check({ from, cluster, rootNamespace: root, output }: CheckFlags): Promise<void> {
  if ((from !== undefined) === (cluster === true))
    throw new UsageError('WEFT_SOURCE', 'give either -f, with manifests, or --cluster');
  const loaded = from ? loadTexts(migrateTexts(from)) : await loadCluster(await loadKubeConfig());
  const report = migrateReport(loaded, root);
  console.log(output === 'json' ? JSON.stringify(report) : [...reportLines(report)].join('\n'));
  process.exitCode = isComplete(report) ? 0 : 1;
}

interface ConvertFlags {
  readonly from: readonly string[];
  readonly output?: string;
  readonly rootNamespace: string;
  readonly istioRoot: string;
  readonly clusterNetworks?: readonly string[];
}

/** Writes a file per file of the input, below `directory`, or everything to standard output. */
function write(
  files: readonly ConvertedFile[],
  from: readonly string[],
  directory: string | undefined,
): void {
  const written = files.filter(({ text }) => text !== '');
  if (directory === undefined) {
    process.stdout.write(written.map(({ text }) => text).join('---\n'));
    return;
  }
  const names = new Set<string>();
  for (const { file, text } of written) {
    const base = from.find((path) => file.startsWith(`${path.replace(/\/+$/, '')}/`));
    const name = (base === undefined ? basename(file) : relative(base, file))
      .replace(/\.json$/, '.yaml')
      // Standard input has no name with an ending.
      .replace(/^[^.]*$/, '$&.yaml');
    const target = join(directory, names.has(name) ? name.replace(/(\.[^.]*)$/, `-${names.size}$1`) : name);
    if (resolve(target) === resolve(file))
      throw new WeftError(
        'WEFT_SOURCE',
        `${target} would replace what was read: give another directory with -o`,
      );
    names.add(name);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text);
  }
}

function convertFiles({
  from,
  output,
  rootNamespace: root,
  istioRoot,
  clusterNetworks = [],
}: ConvertFlags): void {
  const { files, lost, differs, documents } = convert(loadTexts(migrateTexts(from)), {
    root,
    istioRoot,
    clusterNetworks,
  });
  write(files, from, output);
  for (const line of differs) console.error(`differs: ${line}`);
  for (const line of lost) console.error(`not converted: ${line}`);
  console.error(`${documents} objects written, ${differs.length} differences, ${lost.length} not converted`);
  process.exitCode = lost.length > 0 ? 1 : 0;
}

export function migrateCommand(program: Command): void {
  const migrate = program
    .command('migrate')
    .description('move from Istio, Linkerd or SMI: check what works, and convert it');
  migrate
    .command('check')
    .description(
      'say for each object of another mesh what Weft does with it: it works, it differs, or it is not carried out',
    )
    .option(
      '-f, --from <paths...>',
      'manifests: files, directories with their subdirectories, or - for standard input',
    )
    .option('--cluster', 'read the cluster of KUBECONFIG instead; nothing is changed in it')
    .option('--root-namespace <name>', rootNamespaceText, rootNamespace)
    .addOption(new Option('-o, --output <format>', 'format').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nExit codes: 0 everything works, or works with the differences shown; 1 something is not carried out, or could not be read; 2 wrong usage.',
    )
    .action(check);
  migrate
    .command('convert')
    .description(
      "write what does the same in the Gateway API's and Weft's kinds; what has no form there is a comment in the output and a line on standard error",
    )
    .requiredOption(
      '-f, --from <paths...>',
      'manifests: files, directories with their subdirectories, or - for standard input',
    )
    .option(
      '-o, --output <dir>',
      'directory for the output, a file for each file of the input; absent: standard output',
    )
    .option('--root-namespace <name>', rootNamespaceText, rootNamespace)
    .option('--istio-root <name>', "Istio's root namespace", 'istio-system')
    .option(
      '--cluster-networks <cidrs...>',
      "Linkerd's clusterNetworks, for policies that admit the cluster's addresses",
    )
    .addHelpText('after', '\nExit codes: 0 everything was converted; 1 something was not; 2 wrong usage.')
    .action(convertFiles);
}
