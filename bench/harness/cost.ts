/** CPU and memory of processes and of the machine, from /proc. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system CPU seconds of a process with all its threads since its start. Throws if it has ended. */
export function processCpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** CPU seconds of children of this process that have ended and were waited for. */
export function endedChildrenCpuSeconds(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) / ticksPerSecond;
}

/** Non-idle CPU seconds of all CPUs together since boot, without time stolen by the host. */
export function machineCpuSeconds(): number {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + softirq) / ticksPerSecond;
}

/** Runs `work`. Returns its result and the share of time, 0 to 1, in which the CPU was not idle. */
export async function busyWhile<T>(cpu: number, work: () => Promise<T>): Promise<[T, number]> {
  const read = (): { readonly all: number; readonly idle: number } => {
    const line = readFileSync('/proc/stat', 'utf8')
      .split('\n')
      .find((one) => one.startsWith(`cpu${cpu} `));
    const times = (line ?? '').split(/\s+/).slice(1, 9).map(Number);
    return { all: times.reduce((sum, time) => sum + time, 0), idle: (times[3] ?? 0) + (times[4] ?? 0) };
  };
  const before = read();
  const result = await work();
  const after = read();
  return [result, 1 - (after.idle - before.idle) / (after.all - before.all)];
}

/** Resident bytes of a process. */
export function residentBytes(pid: number): number {
  const found = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(found?.[1] ?? 0) * 1024;
}

export interface Spent {
  /** CPU seconds of these processes together. */
  readonly processSeconds: number;
  readonly machineSeconds: number;
}

/** Runs `work`. Returns its result and its cost. */
export async function spentBy<T>(pids: readonly number[], work: () => Promise<T>): Promise<[T, Spent]> {
  const processes = (): number => pids.reduce((sum, pid) => sum + processCpuSeconds(pid), 0);
  const before = { process: processes(), machine: machineCpuSeconds() };
  const result = await work();
  return [
    result,
    { processSeconds: processes() - before.process, machineSeconds: machineCpuSeconds() - before.machine },
  ];
}

/** CPU seconds of the running children of this process that have this name. */
export function childrenCpuSeconds(names: ReadonlySet<string>): number {
  let sum = 0;
  for (const pid of readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ')) {
    try {
      if (pid !== '' && names.has(readFileSync(`/proc/${pid}/comm`, 'utf8').trim()))
        sum += processCpuSeconds(Number(pid));
    } catch {
      // The process has ended meanwhile.
    }
  }
  return sum;
}
