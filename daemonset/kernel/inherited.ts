/**
 * Which epochs a successor may keep. A new epoch refuses every connection that the kernel has allowed and whose SYN has not arrived: after
 * a kill nobody can say what these rest on, in a hand-over the successor can look. It keeps a pod's epoch where each verdict that
 * counts at this epoch would be given today, by the view that it has.
 */
import type { LocalPod } from '../worker-ipc.js';

export interface InheritedVerdict {
  readonly source: bigint;
  readonly destination: bigint;
  readonly port: number;
  readonly epoch: bigint;
}

export interface InheritedParts {
  /** The row of an address in weft_local: its epoch, and the network namespace that has the address. */
  readonly localOf: (ip: string) => { readonly cookie: bigint; readonly epoch: bigint } | undefined;
  /** Read once. */
  readonly verdicts: () => Iterable<InheritedVerdict>;
  readonly podOf: (cookie: bigint) => LocalPod | undefined;
  readonly isAllowed: (source: LocalPod, destination: LocalPod, port: number) => boolean;
  /** Verdicts that are looked at in all; pods beyond that get a new epoch. 8192 where absent. */
  readonly max?: number;
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

  /** The epoch that the pod has in the kernel, where all that it allows is allowed today; undefined: it needs a new one. */
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
