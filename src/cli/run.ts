/** Runs other programs and waits for them. */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, openSync, closeSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WeftError } from '../base/errors.js';
import { sleep } from '../base/wait.js';

/** Root of the compiled project, with control/main.js and daemonset/main.js. */
export const distRoot = ((): string => {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, 'daemonset')) && dirname(dir) !== dir) dir = dirname(dir);
  return dir;
})();

export const programs = {
  control: join(distRoot, 'control', 'main.js'),
  agent: join(distRoot, 'daemonset', 'main.js'),
  waypoint: join(distRoot, 'src', 'waypoint', 'main.js'),
  rateLimiter: join(distRoot, 'src', 'rate-limit', 'main.js'),
  cleanup: join(distRoot, 'daemonset', 'cleanup.js'),
  /** Not JavaScript. WEFT_CARRIER names another build of it. */
  carrier: process.env['WEFT_CARRIER'] ?? join(distRoot, '..', 'native', 'carrier', 'build', 'weft-carrier'),
} as const;

/** A compiled mesh of ten thousand pods is the largest output. */
const outputBytesMax = 256 << 20;

/** Throws an error with the stderr of the program. `env`: added to the environment of this program. */
export function sh(
  command: string,
  args: readonly string[],
  input?: string,
  env?: Readonly<Record<string, string>>,
): string {
  try {
    return execFileSync(command, args, {
      encoding: 'utf8',
      input: input ?? '',
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      maxBuffer: 64 << 20,
    });
  } catch (error) {
    const stderr = (error as { stderr?: string }).stderr?.trim();
    throw new WeftError('WEFT_COMMAND', `${command} ${args.join(' ')}: ${stderr || String(error)}`, {
      cause: error,
    });
  }
}

/** As `sh`, without blocking this program meanwhile. */
export function shAsync(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { encoding: 'utf8', maxBuffer: outputBytesMax }, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      const why = stderr.trim() || String(error);
      reject(new WeftError('WEFT_COMMAND', `${command} ${args.join(' ')}: ${why}`, { cause: error }));
    });
  });
}

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Does not throw for an exit code other than 0. Enters `netns` with nsenter, because ip netns exec would hide the cgroups. */
export function run(
  netns: string,
  command: string,
  args: readonly string[],
  timeoutMs = 10_000,
): Promise<Finished> {
  return new Promise((resolve) => {
    execFile(
      'nsenter',
      [`--net=/run/netns/${netns}`, '--', command, ...args],
      { encoding: 'utf8', timeout: timeoutMs, maxBuffer: 16 << 20 },
      (error, stdout, stderr) => {
        const code = error ? (typeof error.code === 'number' ? error.code : 124) : 0;
        resolve({ code, stdout, stderr });
      },
    );
  });
}

export interface ProcessMark {
  readonly pid: number;
  /** Start time in clock ticks since boot. It distinguishes the process from a later one with the same pid. */
  readonly start: string;
}

/**
 * Undefined if the process has ended. A killed process has ended with its last thread: until then its descriptors are open, so that its
 * listeners still accept, though its first thread may be a zombie.
 */
export function markOf(pid: number): ProcessMark | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const threads = Number(fields[17]);
    return fields[0] === 'Z' && threads <= 1 ? undefined : { pid, start: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}

export function isAlive(mark: ProcessMark): boolean {
  return markOf(mark.pid)?.start === mark.start;
}

/** Sends a signal to exactly this process. False if it has ended. */
export function signalProcess(mark: ProcessMark, signal: NodeJS.Signals): boolean {
  if (!isAlive(mark)) return false;
  try {
    return process.kill(mark.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** Sends SIGTERM, and SIGKILL after `graceMs`. Resolves when the process has ended. */
export async function endProcess(mark: ProcessMark, graceMs: number): Promise<void> {
  if (!signalProcess(mark, 'SIGTERM')) return;
  const until = Date.now() + graceMs;
  while (Date.now() < until && isAlive(mark)) await sleep(20);
  signalProcess(mark, 'SIGKILL');
  while (isAlive(mark)) await sleep(10);
}

/**
 * Starts a program that outlives this one, in a network namespace, with its output in a file. `env`: added to `base`, the environment of
 * this program.
 */
export function daemon(
  netns: string,
  logFile: string,
  command: string,
  args: readonly string[],
  env?: Readonly<Record<string, string>>,
  base: NodeJS.ProcessEnv = process.env,
): ChildProcess {
  const log = openSync(logFile, 'a', 0o600);
  const child = spawn('nsenter', [`--net=/run/netns/${netns}`, '--', command, ...args], {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...base, ...env },
  });
  closeSync(log);
  child.unref();
  return child;
}
