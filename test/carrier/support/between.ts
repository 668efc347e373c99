/**
 * A program between the agent of a node and its carrier: it passes their packets, and kills the agent at a chosen one. The carrier listens in
 * a directory that the agent does not look at.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../../../native/index.js';
import { until } from '../../../src/base/wait.js';
import { programs } from '../../../src/cli/run.js';
import type { Testbed } from '../../../src/cli/standalone/testbed.js';
import { relayProcess } from './relays.js';

export const packets = join(projectRoot, 'test', 'carrier', 'programs', 'packets.py');

export class Between {
  /** Where the agent looks for carriers. */
  readonly dir: string;
  readonly hidden: string;
  readonly #testbed: Testbed;
  readonly #node: string;
  readonly #when: string;

  constructor(testbed: Testbed, node: string) {
    this.#testbed = testbed;
    this.#node = node;
    this.dir = join(testbed.runDir(node), 'carrier');
    this.hidden = join(testbed.state, 'hidden');
    this.#when = join(testbed.state, 'when');
  }

  /** The socket that the agent finds. */
  get socket(): string {
    return join(this.dir, 'carrier.sock');
  }

  /** The carrier's own socket. */
  get carrierSocket(): string {
    return join(this.hidden, 'carrier.sock');
  }

  /** Starts the carrier and this program, ahead of the agents. */
  async start(): Promise<void> {
    mkdirSync(this.hidden, { mode: 0o700 });
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    this.kill('0');
    this.#testbed.start(relayProcess('carrier', this.#node), `weft-${this.#node}`, programs.carrier, [
      '--dir',
      this.hidden,
      '--name',
      'carrier',
    ]);
    this.pass();
    await until('the program listens', 20_000, () => this.log.includes('listening'));
  }

  /** Starts this program, which may have been stopped. */
  pass(): void {
    this.#testbed.start('between', `weft-${this.#node}`, 'python3', [
      packets,
      'between',
      this.socket,
      this.carrierSocket,
      this.#when,
    ]);
  }

  /**
   * At which packet the agents that connect from now on are killed: `n`, after the n-th; `agent KIND` or `carrier KIND`, after the first with
   * such a message (its field in carrier.proto); `0`, never.
   */
  kill(when: string): void {
    writeFileSync(this.#when, when);
  }

  get log(): string {
    return this.#testbed.log('between');
  }
}
