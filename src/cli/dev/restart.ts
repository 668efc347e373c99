/**
 * Replaces the programs of a testbed by those that were just built, in the way in which an upgrade of the product does it: an
 * agent takes its node over from its predecessor, a waypoint gets another replica before the former one ends. Connections go on.
 */
import { errorText } from '../../base/errors.js';
import { isAlive } from '../run.js';
import { takeOver } from '../standalone/replace-agent.js';
import { agentProcess, type Testbed } from '../standalone/testbed.js';
import {
  startWaypoint,
  stopWaypoint,
  waypointProcess,
  type WaypointReplica,
} from '../standalone/waypoint.js';
import type { Restarts } from './changes.js';

/** Replicas of one Gateway take turns between two numbers, which are their addresses. */
const otherReplica = 25;

/** For how long an agent that was replaced relays the connections that it has. */
export const drainMs = 600_000;

export class Programs {
  readonly #replicas: WaypointReplica[];

  constructor(
    private readonly testbed: Testbed,
    private readonly print: (line: string) => void,
  ) {
    this.#replicas = testbed.topology.waypoints.map((gateway, replica) => ({ ...gateway, replica }));
  }

  /** A program that does not come up is reported; the others are restarted all the same. Never rejects. */
  async restart({ control, agents, waypoints }: Restarts): Promise<void> {
    if (control) await this.#attempt('control plane', () => this.#restartControl());
    if (agents)
      for (const { name } of this.testbed.topology.nodes)
        await this.#attempt(`agent of ${name}`, () => this.#replaceAgent(name));
    if (waypoints)
      for (const index of this.#replicas.keys()) {
        const { namespace, name } = this.#replicas[index] as WaypointReplica;
        await this.#attempt(`waypoint ${namespace}/${name}`, () => this.#replaceWaypoint(index));
      }
  }

  async #attempt(name: string, restart: () => Promise<void>): Promise<void> {
    const beganMs = Date.now();
    try {
      await restart();
      this.print(`${name} restarted in ${((Date.now() - beganMs) / 1000).toFixed(1)} s`);
    } catch (error) {
      this.print(`${name} FAILED to restart: ${errorText(error)}`);
    }
  }

  async #restartControl(): Promise<void> {
    await this.testbed.stop('control');
    await this.testbed.startControl();
  }

  async #replaceAgent(node: string): Promise<void> {
    const mark = this.testbed.mark(agentProcess(node));
    if (mark && isAlive(mark)) {
      const former = await takeOver(this.testbed, node);
      // It ends once its last connection has. The testbed may be removed before.
      this.testbed.stop(former, 'SIGTERM', drainMs).catch(() => undefined);
      return;
    }
    this.testbed.startAgent(node);
    await this.testbed.waitReady(undefined, [node]);
  }

  async #replaceWaypoint(index: number): Promise<void> {
    const former = this.#replicas[index] as WaypointReplica;
    const { replica = 0 } = former;
    const next = {
      ...former,
      replica: replica < otherReplica ? replica + otherReplica : replica - otherReplica,
    };
    try {
      await startWaypoint(this.testbed, next);
    } catch (error) {
      await this.testbed.stop(waypointProcess(next), 'SIGKILL');
      throw error;
    }
    this.#replicas[index] = next;
    await stopWaypoint(this.testbed, former);
  }
}
