/** `weft dashboard`: serves the page of the mesh on this machine, or writes it with a snapshot to a file. */
import { randomBytes } from 'node:crypto';
import { Command } from 'commander';
import { errorText, WeftError } from '../../base/errors.js';
import { standardInput } from '../../base/standard-input.js';
import { loadKubeConfig } from '../../kubernetes/config.js';
import { edgesKeptMs } from '../../model/edge.js';
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import { sinceOption } from '../edges/since.js';
import { isOfCluster, namespaceOption, placeOptions } from '../place.js';
import { prometheusOptions } from '../prometheus/options.js';
import { assemble, isNothingRead } from './assemble.js';
import { hasDisplay, openBrowser } from './browser.js';
import { clusterSource } from './cluster-source.js';
import { Explainer } from './explain-query.js';
import { dashboardAddress, urlOf } from './listen.js';
import { readPageFiles, staticPage } from './page-files.js';
import { tapOf } from './tap-query.js';
import { serveDashboard, type DashboardApi } from './server.js';
import { SnapshotCache } from './snapshot-cache.js';
import { Sources, type DashboardFlags } from './sources.js';
import { testbedSource } from './testbed-source.js';
import { withoutPaths } from './shared-snapshot.js';
import { writePage } from './write-page.js';

interface Flags extends DashboardFlags {
  readonly listen: string;
  readonly insecureListen?: boolean;
  readonly open: boolean;
  readonly static?: string;
  readonly since: number;
}

const tokenBytes = 24;
/** The page shows what is there after this time; the rest says that it is still being read. */
const firstViewMs = 500;

async function sourcesOf(flags: DashboardFlags): Promise<Sources> {
  return new Sources(
    flags,
    isOfCluster(flags) ? clusterSource(await loadKubeConfig(), flags) : testbedSource(flags),
  );
}

async function takeSnapshot(sources: Sources, sinceMs: number, waitMs?: number): Promise<MeshSnapshot> {
  const fromMs = Date.now() - sinceMs;
  return assemble(await sources.read(fromMs, waitMs), fromMs, Date.now());
}

const nothingRead = ({ incomplete }: MeshSnapshot): WeftError =>
  new WeftError(
    'WEFT_DASHBOARD',
    `nothing of the mesh could be read, so that no page was written: is it running? ${incomplete.join('; ')}`,
  );

async function writeStatic(flags: Flags, file: string): Promise<void> {
  const page = readPageFiles();
  const snapshot = withoutPaths(await takeSnapshot(await sourcesOf(flags), flags.since));
  if (isNothingRead(snapshot)) throw nothingRead(snapshot);
  const text = staticPage(page, snapshot);
  if (file === standardInput) process.stdout.write(text);
  else {
    writePage(file, text);
    console.log(
      `written to ${file}: it shows who calls whom, names, identities and policies; it asks nothing`,
    );
  }
  for (const one of snapshot.incomplete) console.error(`not in it: ${one}`);
}

async function serve(flags: Flags): Promise<void> {
  const address = dashboardAddress(flags.listen, flags.insecureListen === true);
  const files = readPageFiles();
  const sources = await sourcesOf(flags);
  const cache = new SnapshotCache((sinceMs) => takeSnapshot(sources, sinceMs, firstViewMs));
  const explainer = new Explainer(flags);
  const api: DashboardApi = {
    snapshot: (sinceMs) => cache.get(sinceMs),
    explain: (query) => explainer.ask(query),
    tap: (query, signal) => tapOf(flags, query, signal),
  };
  const token = randomBytes(tokenBytes).toString('base64url');
  const server = await serveDashboard({ ...address, token, files, api });
  const url = urlOf(address.host, server.port, token, flags.since === edgesKeptMs ? undefined : flags.since);
  console.log(`the dashboard is at ${url}`);
  console.log('it ends with this command; who has the URL can read what you can');
  // The first view is ready when the browser asks for it.
  cache.get(flags.since).then(
    (text) => {
      const snapshot = JSON.parse(text) as MeshSnapshot;
      if (isNothingRead(snapshot)) for (const one of snapshot.incomplete) console.error(`not known: ${one}`);
    },
    (error: unknown) => console.error(`the mesh cannot be read: ${errorText(error)}`),
  );
  const remove = flags.open && hasDisplay(process.env) ? openBrowser(url) : undefined;
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  remove?.();
  await server.close();
}

export function dashboardCommand(): Command {
  const command = namespaceOption(
    new Command('dashboard').description(
      'serve a page that shows the mesh: health, who calls whom, policies, problems, live requests',
    ),
  )
    .addOption(sinceOption(': the window that the page begins with').default(edgesKeptMs, '15m'))
    .option('--listen <addr:port>', 'address to serve on; port 0 is any free port', '127.0.0.1:0')
    .option('--insecure-listen', 'permit an address that others can reach, without TLS')
    .option('--no-open', 'do not open a browser')
    .option(
      '--static <file>',
      'write the page with a snapshot to this file (- for standard output), and end',
    );
  return prometheusOptions(placeOptions(command)).action((flags: Flags) =>
    flags.static === undefined ? serve(flags) : writeStatic(flags, flags.static),
  );
}
