/** What tests of traffic policies read: the policies of a page of the docs, and what the waypoint of a testbed counted and logged. */
import { readFileSync } from 'node:fs';
import { adminGet } from '../../src/cli/admin.js';
import { run } from '../../src/cli/run.js';
import { accessLogOf, waypointNetns } from '../../src/cli/standalone/waypoint.js';
import { examples } from './examples.js';
import { vips, type RouteMesh } from './routes.js';

/** The first TrafficPolicy of a page, for the Service `echo` of the testbed. */
export function policyOf(page: string): string {
  const found = examples().find(
    ({ where, text }) => where.startsWith(`docs/${page}.md:`) && /^kind: TrafficPolicy$/m.test(text),
  );
  if (!found) throw new Error(`docs/${page}.md has no TrafficPolicy`);
  return found.text.replace(/(kind: Service, name: )\w+/, '$1echo');
}

/** The sum of a metric's series that have the text in their labels. */
export async function metricOf({ waypoint }: RouteMesh, name: string, labels: string): Promise<number> {
  const text = await adminGet(waypointNetns(waypoint), 15020, '/metrics');
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) && line.includes(labels))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

export const accessLog = ({ testbed, waypoint }: RouteMesh): string[] =>
  readFileSync(accessLogOf(testbed, waypoint), 'utf8').split('\n');

/** The statuses of so many requests of one pod, one after the other, each on a connection of its own. 0: no response. */
export async function statuses(
  path: string,
  count: number,
  headers: readonly string[] = [],
): Promise<number[]> {
  const url = `http://${vips.echo}${path}?[1-${count}]`;
  const more = ['connection: close', ...headers].flatMap((header) => ['-H', header]);
  const args = [
    '-sS',
    '-m',
    '60',
    '--noproxy',
    '*',
    ...more,
    '-o',
    '/dev/null',
    '-w',
    '%{http_code}\\n',
    url,
  ];
  const { stdout } = await run('weft-web', 'curl', args, 60_000);
  return stdout.trim().split('\n').map(Number);
}
