/** The readers of the control plane as a process of their own, and how long changes take to reach them. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { projectRoot } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import { processCpuSeconds } from '../harness/cost.js';

/** Times from a write until a reader has the change, over all readers and changes. */
export interface Delays {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** A round of changes. */
export interface ChangeRound {
  readonly changeMs: Delays;
  /** Delivered changes, of rate x seconds x readers. */
  readonly delivered: number;
  readonly changesPerSecond: number;
  /** CPUs that the control plane used meanwhile. */
  readonly cpu: number;
}

const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

export interface NodesState {
  readonly synced: number;
  readonly delaysMs?: number[];
  readonly routeDelaysMs?: number[];
}

/** The process of the nodes and waypoints (nodes.ts). */
export class Nodes {
  readonly #child: ChildProcess;
  readonly #answers: ((line: string) => void)[] = [];
  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, [join(projectRoot, 'dist/bench/control/nodes.js'), ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = this.#child.stdout;
    if (lines) createInterface({ input: lines }).on('line', (line) => this.#answers.shift()?.(line));
  }
  ask(what: string): Promise<NodesState> {
    return new Promise((resolve, reject) => {
      if (this.#child.exitCode !== null) return reject(new Error('the process of the nodes has ended'));
      const onEnd = (): void => reject(new Error('the process of the nodes has ended'));
      this.#child.once('exit', onEnd);
      this.#answers.push((line) => {
        this.#child.off('exit', onEnd);
        resolve(JSON.parse(line) as NodesState);
      });
      this.#child.stdin?.write(`${JSON.stringify({ do: what })}\n`);
    });
  }
  async allSynced(count: number, sinceMs: number): Promise<number> {
    await until('every node has everything', 300_000, async () => (await this.ask('state')).synced === count);
    return Date.now() - sinceMs;
  }
  end(): void {
    this.#child.kill();
  }
}

/** The process of the control plane, its readers, and the API server. */
interface Scene {
  /** Changes per second, and for how long. */
  readonly rate: number;
  readonly seconds: number;
  readonly nodes: Nodes;
  readonly pid: number;
  readonly readers: number;
  readonly delaysOf: (state: NodesState) => readonly number[] | undefined;
  /** Writes one change. */
  readonly write: (change: number) => Promise<unknown>;
}

/** Writes changes at a steady rate, and waits until the readers have had time to get them. */
export async function measureChanges(scene: Scene): Promise<ChangeRound> {
  const { nodes, pid, rate, seconds } = scene;
  await nodes.ask('reset');
  const cpuBefore = processCpuSeconds(pid);
  const fromMs = Date.now();
  const changes: Promise<unknown>[] = [];
  const total = rate * seconds;
  for (let i = 0; i < total; i++) {
    await sleep(Math.max(0, fromMs + (i * 1000) / rate - Date.now()));
    changes.push(scene.write(i));
  }
  await Promise.all(changes);
  const changesPerSecond = (total * 1000) / (Date.now() - fromMs);
  const cpu = (processCpuSeconds(pid) - cpuBefore) / ((Date.now() - fromMs) / 1000);
  await sleep(2_000);
  const sorted = [...(scene.delaysOf(await nodes.ask('report')) ?? [])].sort((a, b) => a - b);
  return {
    changeMs: { p50: at(sorted, 0.5), p99: at(sorted, 0.99), max: at(sorted, 1) },
    delivered: sorted.length / (total * scene.readers),
    changesPerSecond,
    cpu,
  };
}
