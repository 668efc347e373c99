/** `weft dashboard` as a program, and browsers that open its page. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { MeshSnapshot } from '../../src/model/mesh-snapshot.js';
import { until } from '../../src/base/wait.js';
import { distRoot } from '../../src/cli/run.js';
import { sessionHeaders } from '../../src/dashboard/session.js';

const weft = join(distRoot, 'src', 'cli', 'weft.js');

export interface Dashboard {
  /** As it was printed, with the token. */
  readonly url: string;
  readonly origin: string;
  readonly token: string;
  readonly output: () => string;
  /** Asks with the token. */
  readonly ask: (path: string, init?: RequestInit) => Promise<Response>;
  readonly snapshot: (query?: string) => Promise<MeshSnapshot>;
  /** Resolves with the exit code. */
  readonly stop: () => Promise<number | null>;
}

/** Starts the command. Rejects if it does not serve. */
export async function startDashboard(
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Dashboard> {
  const child = spawn(process.execPath, [weft, 'dashboard', '--no-open', ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes: Buffer) => (output += bytes.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const url = await until('the dashboard serves', 60_000, () => {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${output}`);
    return /http:\S+#token=\S+/.exec(output)?.[0];
  });
  const { origin, hash } = new URL(url);
  const token = new URLSearchParams(hash.slice(1)).get('token') ?? '';
  const ask = (path: string, init: RequestInit = {}): Promise<Response> =>
    fetch(`${origin}${path}`, { ...init, headers: { ...sessionHeaders(token), ...init.headers } });
  return {
    url,
    origin,
    token,
    output: () => output,
    ask,
    snapshot: async (query = '') => {
      const response = await ask(`/api/snapshot${query}`);
      assert.equal(response.status, 200, output);
      return (await response.json()) as MeshSnapshot;
    },
    stop: () => {
      child.kill('SIGTERM');
      return ended;
    },
  };
}
