/** Downloads programs that only the bench needs. They stay between runs. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

export const downloadDir = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'weft-bench');

const fetchMsMax = 300_000;

/** Installs a package of PyPI in `dir`, completely or not at all. `wanted`: `name==version`. Throws with the output of pip. */
export function fetchPackage(wanted: string, dir: string): void {
  mkdirSync(dirname(dir), { recursive: true });
  const unfinished = `${dir}.${process.pid}`;
  try {
    execFileSync(
      'python3',
      ['-m', 'pip', 'install', '--quiet', '--no-deps', '--target', unfinished, wanted],
      { encoding: 'utf8', timeout: fetchMsMax, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    renameSync(unfinished, dir);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}
