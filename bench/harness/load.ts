/** Compiles the load programs on demand and runs them in network namespaces. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { until } from '../../src/base/wait.js';
import { distRoot, sh } from '../../src/cli/run.js';

export type LoadProgram =
  | 'echo'
  | 'pingpong'
  | 'connections'
  | 'bulk'
  | 'sink'
  | 'first'
  | 'hold'
  | 'responder'
  | 'requests'
  | 'relay'
  | 'answers'
  | 'h2client'
  | 'h2server';

/** Those that link a library. */
const libraries: Partial<Record<LoadProgram, readonly string[]>> = {
  h2client: ['-lnghttp2'],
  h2server: ['-lnghttp2'],
};

const sources = join(dirname(distRoot), 'bench', 'load');
const built = join(distRoot, 'bench', 'load');

/** Path of a compiled program of bench/load. Throws WEFT_COMMAND with the output of the compiler. */
export function loadProgram(name: LoadProgram): string {
  const source = join(sources, `${name}.c`);
  const target = join(built, name);
  const newest = Math.max(
    ...readdirSync(sources)
      .filter((file) => file.endsWith('.h') || file === `${name}.c`)
      .map((file) => statSync(join(sources, file)).mtimeMs),
  );
  const age = statSync(target, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (age < newest) {
    mkdirSync(built, { recursive: true });
    sh('cc', [
      '-O2',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-o',
      `${target}.new`,
      source,
      ...(libraries[name] ?? []),
    ]);
    renameSync(`${target}.new`, target);
  }
  return target;
}

/**
 * CPUs of the two ends. Placement alone changes latency threefold, so all variants use the same CPUs. -1 (the scheduler decides)
 * on a machine with one CPU.
 */
export const cpuOf = availableParallelism() > 1 ? { client: 0, server: 1 } : { client: -1, server: -1 };

/** Command line that runs in a network namespace. Default: the namespace of this process. */
const within = (
  netns: string | undefined,
  command: string,
  args: readonly string[],
): [string, readonly string[]] =>
  netns === undefined ? [command, args] : ['nsenter', [`--net=/run/netns/${netns}`, '--', command, ...args]];

/** Parses output that is one JSON object, or whose last line is one. */
function lastObject(text: string): unknown {
  const whole = text.trim();
  return JSON.parse(whole.startsWith('{') ? whole : (whole.split('\n').at(-1) ?? ''));
}

/** Runs a program in a network namespace to its end and parses the JSON object that it prints. Throws WEFT_COMMAND. */
export function runJson(
  netns: string | undefined,
  command: string,
  args: readonly string[],
  timeoutMs: number,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    execFile(
      ...within(netns, command, args),
      { encoding: 'utf8', timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 64 << 20 },
      (error, stdout, stderr) => {
        try {
          if (error) throw error;
          resolve(lastObject(stdout));
        } catch (cause) {
          const said = stderr.trim() || stdout.trim().slice(-500) || String(cause);
          reject(
            new WeftError(
              'WEFT_COMMAND',
              `${command} ${args.join(' ')} in ${netns ?? 'this namespace'}: ${said}`,
              { cause },
            ),
          );
        }
      },
    );
  });
}

/** A number in the JSON of a program. Throws WEFT_COMMAND with the field if it is not a number. */
export function numberAt(value: unknown, ...path: readonly string[]): number {
  let at: unknown = value;
  for (const key of path) at = typeof at === 'object' && at !== null ? Reflect.get(at, key) : undefined;
  if (typeof at !== 'number' || !Number.isFinite(at)) {
    throw new WeftError('WEFT_COMMAND', `a load program printed no number at ${path.join('.')}`);
  }
  return at;
}

/** The servers of a run, which end together. */
export class Servers {
  readonly #children: ChildProcess[] = [];

  /** Starts a server in a network namespace and waits at most 5 s until it listens on `port`. Returns its process id. */
  async start(
    netns: string | undefined,
    port: number,
    command: string,
    args: readonly string[],
  ): Promise<number> {
    const child = spawn(...within(netns, command, args), {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-500)));
    this.#children.push(child);
    return until(`${command} listens in ${netns ?? 'this namespace'} on port ${port}`, 5_000, () => {
      if (child.exitCode !== null) {
        throw new WeftError(
          'WEFT_START',
          `${command} ended with exit code ${child.exitCode}: ${said.trim()}`,
        );
      }
      return child.pid !== undefined && listens(child.pid, port) && child.pid;
    });
  }

  /** Ends one server before the others. */
  async end(pid: number): Promise<void> {
    const at = this.#children.findIndex((child) => child.pid === pid);
    await Promise.all((at < 0 ? [] : this.#children.splice(at, 1)).map(ended));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#children.splice(0).map(ended));
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
}

/** True if a TCP socket listens on `port`, IPv4 or IPv6, in the network namespace of the process. */
function listens(pid: number, port: number): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return ['tcp', 'tcp6'].some((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, 'utf8')
      .split('\n')
      .some((line) => {
        const [, local, , state] = line.trim().split(/\s+/);
        return local?.endsWith(suffix) === true && state === '0A';
      }),
  );
}
