/** The logs of all agents of a cluster from now on, those of agents that are replaced meanwhile too. */
import { spawn, type ChildProcess } from 'node:child_process';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { eitherAgent, env, system } from './cluster.js';

const scanMs = 500;

export class AgentLogs {
  /** By pod. */
  readonly #lines = new Map<string, string[]>();
  readonly #following = new Map<string, ChildProcess>();
  #isStopped = false;
  readonly #scanning: Promise<void>;

  constructor() {
    this.#scanning = this.#scan();
  }

  /** Records of connections, with the agent's pod. */
  get records(): readonly (ConnectionRecord & { readonly agent: string })[] {
    return [...this.#lines].flatMap(([agent, lines]) =>
      lines
        .filter((line) => line.includes('"path":'))
        .map((line) => ({ ...(JSON.parse(line) as ConnectionRecord), agent })),
    );
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#scanning;
    for (const child of this.#following.values()) child.kill();
  }

  async #scan(): Promise<void> {
    while (!this.#isStopped) {
      const names = await system('get', 'pod', '-l', eitherAgent, '-o', 'name').catch(() => '');
      for (const name of names.split('\n').map((pod) => pod.replace('pod/', '')))
        if (name !== '' && !this.#following.has(name)) this.#follow(name);
      await new Promise((resolve) => setTimeout(resolve, scanMs));
    }
  }

  #follow(name: string): void {
    const child = spawn('kubectl', ['-n', 'weft-system', 'logs', '-f', name], {
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.#following.set(name, child);
    const lines: string[] = [];
    let rest = '';
    child.stdout.on('data', (part: Buffer) => {
      this.#lines.set(name, lines);
      const all = (rest + part.toString()).split('\n');
      rest = all.pop() ?? '';
      lines.push(...all);
    });
    // The container has not started yet: the next scan tries again.
    child.on('exit', () => {
      if (lines.length === 0) this.#following.delete(name);
    });
  }
}
