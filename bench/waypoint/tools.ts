/** Debian's programs that this suite alone needs, and what is read from them. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { sleep } from '../../src/base/wait.js';
import { sh } from '../../src/cli/run.js';
import { closedLoop, type Target } from './measure.js';
import type { SystemCalls } from './report.js';

export const has = (command: string): boolean => {
  try {
    execFileSync('/bin/sh', ['-c', `command -v ${command}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

/** Installs missing programs. Throws WEFT_COMMAND if that fails. */
export function needTools(packages: readonly string[], onProgress: (text: string) => void): void {
  install(
    packages.filter((name) => !has(name)),
    onProgress,
  );
}

/** Installs the package of a library's header, unless the compiler finds the header. Throws WEFT_COMMAND if that fails. */
export function needHeader(header: string, packageName: string, onProgress: (text: string) => void): void {
  try {
    execFileSync('cc', ['-E', '-include', header, '-x', 'c', '/dev/null'], { stdio: 'ignore' });
  } catch {
    install([packageName], onProgress);
  }
}

function install(missing: readonly string[], onProgress: (text: string) => void): void {
  if (missing.length === 0) return;
  onProgress(`installing ${missing.join(', ')}`);
  if (!has('apt-get'))
    throw new WeftError('WEFT_COMMAND', `missing: ${missing.join(', ')}; install them by hand`);
  sh('apt-get', ['update', '-qq']);
  sh('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], undefined, {
    DEBIAN_FRONTEND: 'noninteractive',
  });
}

/** System calls of a process, all its threads, while `work` runs. The tracer slows it down: the load must be a closed loop. */
export async function systemCallsOf(
  pid: number,
  dir: string,
  work: () => Promise<unknown>,
): Promise<Readonly<Record<string, number>>> {
  const file = join(dir, `strace.${pid}`);
  const tracer = spawn('strace', ['-c', '-f', '-qq', '-o', file, '-p', String(pid)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  tracer.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-500)));
  const ended = once(tracer, 'exit');
  await sleep(300);
  if (tracer.exitCode !== null) throw new WeftError('WEFT_COMMAND', `strace: ${said.trim()}`);
  try {
    await work();
  } finally {
    tracer.kill('SIGINT');
    await ended;
  }
  const text = readFileSync(file, 'utf8');
  rmSync(file);
  return parseStrace(text);
}

/** The table of `strace -c`. */
export function parseStrace(text: string): Record<string, number> {
  const calls: Record<string, number> = {};
  for (const line of text.split('\n')) {
    // % time, seconds, usecs/call, calls, [errors,] syscall
    const found = /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$/.exec(line);
    if (found?.[2] !== undefined && found[2] !== 'total') calls[found[2]] = Number(found[1]);
  }
  return calls;
}

/** System calls per request of each proxy that runs, from a closed loop of 16 connections under a tracer. */
export async function systemCallsPerRequest(
  targets: readonly Target[],
  dir: string,
  seconds: number,
  onProgress: (text: string) => void,
): Promise<SystemCalls> {
  const perRequest: Record<string, Record<string, number>> = {};
  for (const target of targets) {
    if (target.pid === undefined) continue;
    onProgress(`system calls of ${target.name}`);
    let requests = 0;
    const calls = await systemCallsOf(target.pid, dir, async () => {
      requests = (await closedLoop(target, 16, Math.min(2, seconds))).requests;
    });
    perRequest[target.name] = Object.fromEntries(
      Object.entries(calls).map(([call, count]) => [call, count / requests]),
    );
  }
  return perRequest;
}
