/** Writes and removes a pod's rows in all maps, in an order in which capture comes last and no exclusion outlives the pod. */
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
   * Writes a pod's rows, weft_pods last. Call it with `capture` once the pod has its listeners and its inbound hook. Rows of a previous
   * agent that are no longer wanted are removed: a stale exclusion would bypass the mesh. Error: NATIVE_FULL.
   */
  write(pod: NodePod, cookie: bigint, capture: boolean): void {
    const replacing = this.#rows.map((rows) => rows.replace(pod, cookie));
    for (const { put } of replacing) put();
    for (const { prune } of replacing) prune();
    this.#pods.write(pod, cookie, capture);
  }

  /** Ends the capture of a network namespace, also if a previous agent wrote it; other rows stay until remove(). Returns an undo. */
  lift(cookie: bigint): () => void {
    return this.#pods.lift(cookie);
  }

  /** Removes a pod, also if a previous agent wrote it, and leftover rows of all pods that have left. */
  remove(cookie: bigint): void {
    this.#pods.remove(cookie);
    for (const rows of this.#rows) rows.remove(cookie);
    const present = this.#pods.cookies();
    this.#handoffs.removeProbesOfOthers(present);
    this.#shares.removeUnusedOfOthers(present);
    this.#negative.removeOthers(present);
  }
}
