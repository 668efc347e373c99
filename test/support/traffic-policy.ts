/** What tests of traffic policies read of a testbed: the waypoint's access log, and the statuses of responses. */
import { readFileSync } from 'node:fs';
import { run } from '../../src/cli/run.js';
import { accessLogOf } from '../../src/cli/standalone/waypoint.js';
import { vips, type RouteMesh } from './routes.js';

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
