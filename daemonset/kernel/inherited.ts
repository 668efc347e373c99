/**
 * Decides which epochs an agent keeps from its predecessor. A new epoch refuses every connection that the kernel has allowed and whose SYN
 * has not arrived yet. After a kill the inputs of the old verdicts are unknown. In a handover the successor can check them: it keeps
 * a pod's epoch if its current view would give every verdict that is valid at this epoch.
 */
import type { LocalPod } from '../worker-ipc.js';

export interface InheritedVerdict {
  readonly source: bigint;
  readonly destination: bigint;
  readonly port: number;
  readonly epoch: bigint;
}

export interface InheritedParts {
  /** The row of an address in weft_local: its epoch, and the cookie of the network namespace that has the address. */
  readonly localOf: (ip: string) => { readonly cookie: bigint; readonly epoch: bigint } | undefined;
  /** All verdicts in the kernel. Called at most once. */
  readonly verdicts: () => Iterable<InheritedVerdict>;
  readonly podOf: (cookie: bigint) => LocalPod | undefined;
  readonly isAllowed: (source: LocalPod, destination: LocalPod, port: number) => boolean;
  /** Maximum number of verdicts checked in total; pods beyond the limit get a new epoch. Default: 8192. */
  readonly max?: number;
  /** Called when a pod gets a new epoch because of `max`. */
  readonly onLimit: () => void;
}

const lookedAtMax = 8_192;

export class InheritedEpochs {
  readonly #parts: InheritedParts;
  #byDestination: Map<bigint, InheritedVerdict[]> | undefined;
  #left: number;

  constructor(parts: InheritedParts) {
    this.#parts = parts;
    this.#left = parts.max ?? lookedAtMax;
  }

  /** The pod's epoch in the kernel if the view still allows all verdicts valid at it; undefined: the pod needs a new epoch. */
  keep(local: LocalPod): bigint | undefined {
    const { localOf, podOf, isAllowed, onLimit } = this.#parts;
    const rows = local.pod.addresses.map(localOf);
    const epoch = rows[0]?.epoch;
    const { cookie } = local.netns;
    if (epoch === undefined || rows.some((row) => row?.cookie !== cookie || row.epoch !== epoch))
      return undefined;
    for (const verdict of this.#of(cookie)) {
      if (verdict.epoch !== epoch) continue;
      if (this.#left-- <= 0) {
        onLimit();
        return undefined;
      }
      const source = podOf(verdict.source);
      if (!source || !isAllowed(source, local, verdict.port)) return undefined;
    }
    return epoch;
  }

  #of(cookie: bigint): readonly InheritedVerdict[] {
    if (!this.#byDestination) {
      this.#byDestination = new Map();
      for (const verdict of this.#parts.verdicts()) {
        const list = this.#byDestination.get(verdict.destination);
        if (list) list.push(verdict);
        else this.#byDestination.set(verdict.destination, [verdict]);
      }
    }
    return this.#byDestination.get(cookie) ?? [];
  }
}
