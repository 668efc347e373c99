/** What the maps hold of one pod: its rows in order, so that a pod is captured last and no exclusion outlives it. */
import type { NodePod } from '../../src/model/node-pod.js';
import { BypassBlocks } from './bypass-ip.js';
import { BypassPorts } from './bypass-port.js';
import { HandoffTable } from './handoff.js';
import { NegativeTable } from './negative.js';
import type { PinnedMaps } from './pinned.js';
import { PodAddresses } from './pod-addr.js';
import type { PodRows } from './pod-rows.js';
import { PodTable } from './pods.js';
import { ProbePorts } from './probe.js';
import { ShareTable } from './shares.js';

export class PodMaps {
  readonly #pods: PodTable;
  readonly #rows: readonly PodRows[];
  readonly #handoffs: HandoffTable;
  readonly #shares: ShareTable;
  readonly #negative: NegativeTable;

  constructor(maps: PinnedMaps) {
    this.#pods = new PodTable(maps);
    this.#rows = [
      new PodAddresses(maps),
      new BypassPorts(maps),
      new BypassBlocks(maps),
      new ProbePorts(maps),
    ];
    this.#handoffs = new HandoffTable(maps);
    this.#shares = new ShareTable(maps);
    this.#negative = new NegativeTable(maps);
  }

  /**
   * Writes a pod; `capture` last, when its listeners and its inbound hook are there. What a former life of the agent
   * wrote for it and is no longer wanted goes: an exclusion left behind would be a hole. Throws NativeError NATIVE_FULL.
   */
  write(pod: NodePod, cookie: bigint, capture: boolean): void {
    const replacing = this.#rows.map((rows) => rows.replace(pod, cookie));
    for (const { put } of replacing) put();
    for (const { prune } of replacing) prune();
    this.#pods.write(pod, cookie, capture);
  }

  /**
   * Ends the capture of a namespace, whoever wrote it; the rest stays until remove(). Returns what puts it back as it was.
   */
  lift(cookie: bigint): () => void {
    return this.#pods.lift(cookie);
  }

  /**
   * Removes a pod, also one that a former life of the agent wrote, and what the kernel's tables still hold of pods that have left.
   */
  remove(cookie: bigint): void {
    this.#pods.remove(cookie);
    for (const rows of this.#rows) rows.remove(cookie);
    const present = this.#pods.cookies();
    this.#handoffs.removeProbesOfOthers(present);
    this.#shares.removeUnusedOfOthers(present);
    this.#negative.removeOthers(present);
  }
}
