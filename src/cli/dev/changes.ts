/** Finds changed source files, and decides what to rebuild and restart. `restartsFor` is pure. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Folders with the sources of the programs. */
const watched = ['src', 'daemonset', 'control', 'native', 'bpf'] as const;
const sources = /\.(ts|mjs|c|cc|h|sh|gyp|proto|ya?ml|json|html)$/;
const outputs: ReadonlySet<string> = new Set(['build', 'node_modules']);

/** Modification time in ms by path from the project's root. */
export type Snapshot = ReadonlyMap<string, number>;

/** Reads the modification times of all sources: some thousand files, in a few milliseconds. Skips files that vanish meanwhile. */
export function takeSnapshot(root: string): Snapshot {
  const files = new Map<string, number>();
  const visit = (dir: string): void => {
    for (const entry of readdirSync(join(root, dir), { withFileTypes: true })) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) {
        if (!outputs.has(entry.name)) visit(path);
      } else if (sources.test(entry.name)) {
        const stat = statSync(join(root, path), { throwIfNoEntry: false });
        if (stat) files.set(path, stat.mtimeMs);
      }
    }
  };
  for (const dir of watched) visit(dir);
  return files;
}

/** Paths that were added, removed or written between the snapshots, sorted. */
export function changedPaths(before: Snapshot, now: Snapshot): string[] {
  const paths = new Set([...before.keys(), ...now.keys()]);
  return [...paths].filter((path) => before.get(path) !== now.get(path)).sort();
}

export interface Restarts {
  /** Also build the eBPF objects, the addon and the CNI plugin. */
  readonly native: boolean;
  readonly control: boolean;
  readonly agents: boolean;
  readonly waypoints: boolean;
}

/** Programs to restart when these files change: none for tests and the CLI, all for shared code. */
export function restartsFor(paths: readonly string[]): Restarts {
  const reaching = paths.filter((path) => !path.endsWith('.test.ts') && !path.startsWith('src/cli/'));
  const shared = reaching.some((path) => path.startsWith('src/') && !path.startsWith('src/waypoint/'));
  const any = (...folders: readonly string[]): boolean =>
    shared || reaching.some((path) => folders.some((folder) => path.startsWith(`${folder}/`)));
  return {
    native: paths.some((path) => /^(native|bpf)\//.test(path) && !path.endsWith('.ts')),
    control: any('control'),
    agents: any('daemonset', 'native', 'bpf'),
    waypoints: any('src/waypoint'),
  };
}
