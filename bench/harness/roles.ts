/**
 * CPU by role (the client, the server, each kind of proxy). Each role has a cgroup, whose CPU time the scheduler sums. So threads
 * and processes that have ended are counted too.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, WeftError } from '../../src/base/errors.js';
import { sleep } from '../../src/base/wait.js';
import { cgroupRoot } from '../../daemonset/datapath/loader.js';
import { machineCpuSeconds } from './cost.js';

/** CPU seconds. `kernel`: CPU of the machine besides the roles and the bench itself: soft interrupts, kernel threads. */
export interface CpuSpent {
  /** All proxies together. */
  readonly proxy: number;
  readonly byProxy: Readonly<Record<string, number>>;
  readonly application: number;
  readonly kernel: number;
}

const prefix = 'weft-bench-';

/** Removes cgroups of a run that was killed. The kernel keeps a cgroup that still has a process. */
function removeUnused(dir: string): void {
  if (existsSync(join('/proc', dir.slice(dir.lastIndexOf('-') + 1)))) return;
  try {
    for (const entry of readdirSync(dir, { withFileTypes: true }))
      if (entry.isDirectory()) rmdirSync(join(dir, entry.name));
    rmdirSync(dir);
  } catch {
    // In use.
  }
}

export class Roles {
  readonly #dir: string;

  /** Throws WEFT_START if cgroups cannot be created. */
  constructor() {
    const root = cgroupRoot();
    this.#dir = join(root, `${prefix}${process.pid}`);
    for (const name of readdirSync(root)) if (name.startsWith(prefix)) removeUnused(join(root, name));
    try {
      mkdirSync(this.#dir);
    } catch (error) {
      throw new WeftError('WEFT_START', `cannot create a cgroup to measure CPU: ${errorText(error)}`, {
        cause: error,
      });
    }
  }

  #of(role: string): string {
    const dir = join(this.#dir, role);
    mkdirSync(dir, { recursive: true });
    return dir;
  }

  /** Moves a running process, with all its threads. */
  add(role: string, pid: number): void {
    writeFileSync(join(this.#of(role), 'cgroup.procs'), String(pid));
  }

  /** Command line that starts in the role, so that all its children are counted, with the largest allowed number of open files. */
  command(role: string, command: string, args: readonly string[]): [string, string[]] {
    return [
      '/bin/sh',
      [
        '-c',
        'echo $$ >"$0" && ulimit -n "$(ulimit -Hn)" && exec "$@"',
        join(this.#of(role), 'cgroup.procs'),
        command,
        ...args,
      ],
    ];
  }

  /** CPU seconds so far. */
  cpuSeconds(role: string): number {
    const text = readFileSync(join(this.#of(role), 'cpu.stat'), 'utf8');
    return Number(/^usage_usec (\d+)$/m.exec(text)?.[1] ?? 0) / 1e6;
  }

  /** Ids of the processes that run in a role. */
  pids(role: string): number[] {
    return readFileSync(join(this.#of(role), 'cgroup.procs'), 'utf8')
      .trim()
      .split('\n')
      .filter(Boolean)
      .map(Number);
  }

  /** Runs `work` and returns its CPU cost. */
  async spentBy<T>(
    proxies: readonly string[],
    applications: readonly string[],
    work: () => Promise<T>,
  ): Promise<[T, CpuSpent]> {
    const read = (): { byProxy: number[]; application: number; all: number } => {
      const own = process.cpuUsage();
      return {
        byProxy: proxies.map((role) => this.cpuSeconds(role)),
        application: applications.reduce((total, role) => total + this.cpuSeconds(role), 0),
        all: machineCpuSeconds() - (own.user + own.system) / 1e6,
      };
    };
    const before = read();
    const result = await work();
    const after = read();
    const spent = after.byProxy.map((seconds, at) => seconds - (before.byProxy[at] ?? 0));
    const byProxy = Object.fromEntries(proxies.map((role, at) => [role, spent[at] ?? 0]));
    const proxy = spent.reduce((total, seconds) => total + seconds, 0);
    const application = after.application - before.application;
    return [
      result,
      { proxy, byProxy, application, kernel: Math.max(0, after.all - before.all - proxy - application) },
    ];
  }

  /** Removes the cgroups after their processes have ended. Waits a second for the last process. */
  async remove(): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        for (const entry of readdirSync(this.#dir, { withFileTypes: true }))
          if (entry.isDirectory()) rmdirSync(join(this.#dir, entry.name));
        rmdirSync(this.#dir);
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
        if (tries >= 20) throw error;
        await sleep(50);
      }
    }
  }
}
