/**
 * Replaces the programs of a testbed with the new build, as an upgrade of Weft does. A new agent takes over the node from its
 * predecessor. A waypoint gets a new replica before the former one ends. Connections survive.
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

/** The replicas of a Gateway alternate between two numbers, which determine their addresses. */
const otherReplica = 25;

/** Time for which a replaced agent still relays its connections. */
export const drainMs = 600_000;

export class Programs {
  readonly #replicas: WaypointReplica[];

  constructor(
    private readonly testbed: Testbed,
    private readonly print: (line: string) => void,
  ) {
    this.#replicas = testbed.topology.waypoints.map((gateway, replica) => ({ ...gateway, replica }));
  }

  /** Restarts these programs. A failed restart is printed and does not stop the others. Never rejects. */
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
      // The former agent ends after its last connection. The testbed may be removed before, so a failure is ignored.
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
