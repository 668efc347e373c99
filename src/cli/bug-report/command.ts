/** `weft bug-report`: one archive with what somebody else needs to find out what is wrong, without secrets. */
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { version } from '../../base/version.js';
import { loadKubeConfig } from '../../kubernetes/config.js';
import { wantsCluster } from '../wants-cluster.js';
import { installationOption, meshOptions } from '../place.js';
import { readLedger, stateDefault } from '../standalone/ledger.js';
import { writeArchive } from './archive.js';
import { clusterParts } from './cluster.js';
import { collect, type Collected, type Part } from './collect.js';
import { markWith } from './redact-value.js';
import { standaloneParts } from './standalone.js';

interface Flags {
  readonly state?: string;
  readonly namespace: string;
  readonly kubernetes?: boolean;
  readonly output?: string;
}

/** `weft-bug-report-20260131T120000Z` */
const folderName = (now: Date): string =>
  `weft-bug-report-${now.toISOString().replaceAll(/[-:]|\.\d+/g, '')}`;

/** The parts of the testbed, else of the cluster of KUBECONFIG, else of this machine. */
async function partsOf({ state, namespace, kubernetes }: Flags): Promise<readonly Part[]> {
  if (state === undefined && !readLedger(stateDefault) && wantsCluster(kubernetes))
    return clusterParts(await loadKubeConfig(), namespace);
  return standaloneParts(state ?? stateDefault);
}

/** Files that describe the report itself. */
const filesOf = (collected: Collected, now: Date): { path: string; text: string }[] => [
  {
    path: 'report.json',
    text: `${JSON.stringify(
      {
        weft: version,
        time: now.toISOString(),
        files: collected.files.map(({ path, text }) => ({ path, characters: text.length })),
      },
      null,
      1,
    )}\n`,
  },
  { path: 'errors.txt', text: collected.errors.map((line) => `${line}\n`).join('') },
  ...collected.files,
];

function* summary({ files, errors }: Collected, path: string): Generator<string> {
  const folders = new Map<string, number>();
  for (const file of files) {
    const [top = ''] = file.path.split('/');
    const name = file.path.includes('/') ? `${top}/` : top;
    folders.set(name, (folders.get(name) ?? 0) + 1);
  }
  for (const [name, count] of folders) yield name.endsWith('/') ? `${name} (${count} files)` : name;
  for (const line of errors) yield `not complete: ${line}`;
  yield `${path} (${statSync(path).size} bytes): secrets were removed; look through it before you share it`;
}

export function bugReportCommand(): Command {
  const command = new Command('bug-report').description(
    'write an archive of versions, state, objects, logs, metrics and events, without keys and tokens: of a testbed, of the cluster of KUBECONFIG, or of this machine',
  );
  return installationOption(meshOptions(command))
    .option('-o, --output <file>', 'the archive (default: weft-bug-report-TIME.tar.gz in this directory)')
    .action(async (flags: Flags) => {
      const now = new Date();
      const folder = folderName(now);
      const path = resolve(flags.output ?? `${folder}.tar.gz`);
      // The key is not kept.
      const collected = await collect(await partsOf(flags), markWith(randomBytes(32)));
      await writeArchive(path, folder, filesOf(collected, now), now);
      for (const line of summary(collected, path)) console.log(line);
      // Parts that were too slow would keep this process alive.
      process.exit(0);
    });
}
