/**
 * Decides which connections between pods may be kernel flows: allow verdicts per (source pod, destination pod, port), from the same plan
 * as the relay. Sole owner of weft_local, weft_verdicts and the lease (maps/local.ts, maps/verdicts.ts, maps/node.ts).
 */
import type { IpAddress } from '../../src/model/address.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { MeshView } from '../../src/state/store.js';
import type { LocalPod } from '../worker-ipc.js';
import { kernelPathObstacle } from '../../src/path/kernel-path.js';
import type { LocalTable } from '../maps/local.js';
import type { NodeMaps } from '../maps/node-maps.js';
import { localFlags } from '../maps/rows.generated.js';
import { InheritedEpochs } from './inherited.js';
import { VerdictTable } from '../maps/verdicts.js';
import { verdictInputsOf } from './verdict-inputs.js';

interface Admitted {
  readonly local: LocalPod;
  epoch: bigint;
  /** The kernel has this epoch. If false, the pod has no row in the kernel, or the lease is not renewed. */
  written: boolean;
  /** Inputs of the verdicts toward the pod, compared by identity: the view replaces objects that change. */
  inputs: readonly unknown[];
}

/** True where every address of `source` may reach `port` at every address of `destination` of its family, unaudited. */
export function isKernelPathAllowed(
  view: MeshView,
  source: LocalPod,
  destination: LocalPod,
  port: number,
  node: string,
): boolean {
  return kernelPathObstacle(view, source.pod, destination.pod, port, node) === undefined;
}

/**
 * An epoch greater than that of any verdict in the kernel: above the epochs in its maps, and above the time since boot in nanoseconds,
 * which grows faster than any number of changes. Maps do not survive a boot, so wall clocks do not matter. Pure.
 */
export function epochAbove(inKernel: Iterable<bigint>, sinceBootNs: bigint): bigint {
  let last = sinceBootNs;
  for (const epoch of inKernel) if (epoch > last) last = epoch;
  return last + 1n;
}

export class Verdicts {
  readonly #pods = new Map<WorkloadUid, Admitted>();
  readonly #table: VerdictTable;
  #inheritedEpochs: InheritedEpochs | undefined;
  /** Network namespaces admitted before. The previous agent's epoch is kept only at a namespace's first admission. */
  readonly #firsts = new Set<bigint>();
  #last: bigint | undefined;
  /** Every row of weft_local is that of a pod as admitted by this agent. */
  #allOurs = false;

  constructor(
    private readonly maps: NodeMaps,
    private readonly view: MeshView,
    private readonly node: string,
    /** How long verdicts stay valid after a renewal of the lease: a dead agent cannot revoke its verdicts. */
    private readonly leaseMs: number,
    /** A pod exceeded its share of verdicts: its oldest one was removed. */
    onLimit: () => void = () => undefined,
    /** A pod's row could not be written; the write is tried again before the lease is renewed. */
    private readonly onError: (error: unknown) => void = () => undefined,
    /** Set if a live agent handed over the node: the pod of a network namespace. */
    private readonly inheritedPodOf?: (cookie: bigint) => LocalPod | undefined,
    /** More verdicts were inherited than the limit for checking. */
    private readonly onInheritedLimit: () => void = () => undefined,
  ) {
    this.#table = new VerdictTable(() => maps.get('weft_verdicts'), onLimit);
  }

  get #inherited(): InheritedEpochs | undefined {
    const podOf = this.inheritedPodOf;
    if (!podOf) return undefined;
    return (this.#inheritedEpochs ??= new InheritedEpochs({
      localOf: (ip) => this.maps.local.get(ip as IpAddress),
      verdicts: () => this.#table.entries(),
      podOf,
      isAllowed: (source, destination, port) =>
        isKernelPathAllowed(this.view, source, destination, port, this.node),
      onLimit: this.onInheritedLimit,
    }));
  }

  /** The pod is captured: from now on verdicts can allow kernel flows to it. Throws if the maps cannot be read for its epoch. */
  admit(local: LocalPod): void {
    const isFirst = !this.#firsts.has(local.netns.cookie);
    this.#firsts.add(local.netns.cookie);
    const admitted = {
      local,
      epoch: (isFirst ? this.#inherited?.keep(local) : undefined) ?? this.#nextEpoch(),
      inputs: verdictInputsOf(this.view, local.pod),
      written: false,
    };
    this.#pods.set(local.pod.uid, admitted);
    // Rows of the pod's former addresses have an epoch that no longer changes.
    this.#allOurs = false;
    this.#write(admitted);
  }

  /** The pod is no longer captured: removes its rows and verdicts. Error: NativeError. */
  dismiss(local: LocalPod): void {
    this.#pods.delete(local.pod.uid);
    this.forget(local.netns.cookie);
  }

  /** Removes the rows and verdicts of a network namespace from the kernel, including those of a previous agent. */
  forget(cookie: bigint): void {
    this.#allOurs = false;
    this.maps.local.removeOf(cookie);
    this.#table.forget(cookie);
  }

  /** Decides by the current view. Writes a verdict if the kernel path is allowed; returns whether it is. */
  decide(sourceUid: WorkloadUid, destinationUid: WorkloadUid, port: number): boolean {
    const source = this.#pods.get(sourceUid);
    const destination = this.#pods.get(destinationUid);
    if (!source || !destination) return false;
    if (!isKernelPathAllowed(this.view, source.local, destination.local, port, this.node)) return false;
    this.#table.allow({
      source: source.local.netns.cookie,
      destination: destination.local.netns.cookie,
      port,
      epoch: destination.epoch,
    });
    return true;
  }

  /** Run after every change of the view: gives affected pods a new epoch; returns whether there were any. */
  refresh(): boolean {
    let moved = false;
    for (const admitted of this.#pods.values()) {
      const inputs = verdictInputsOf(this.view, admitted.local.pod);
      if (
        inputs.length === admitted.inputs.length &&
        inputs.every((input, i) => input === admitted.inputs[i])
      )
        continue;
      admitted.epoch = this.#nextEpoch();
      admitted.inputs = inputs;
      this.#write(admitted);
      moved = true;
    }
    return moved;
  }

  /**
   * Renews the lease. First it makes sure that every verdict rests on the current view: rows of pods that this agent has not admitted
   * are removed, and so is the row of a pod that cannot be written. If that fails, the lease is not renewed and the error is thrown.
   * Returns whether a change of the view had been missed.
   */
  renewLease(): boolean {
    const moved = this.refresh();
    for (const admitted of this.#pods.values()) {
      if (admitted.written) continue;
      this.#write(admitted);
      if (!admitted.written) this.forget(admitted.local.netns.cookie);
    }
    if (!this.#allOurs) this.#dropForeign();
    const until = process.hrtime.bigint() + BigInt(this.leaseMs) * 1_000_000n;
    this.maps.node.setLease(until);
    return moved;
  }

  #nextEpoch(): bigint {
    if (this.#last === undefined) {
      const inKernel = function* (local: LocalTable, verdicts: VerdictTable): Iterable<bigint> {
        for (const { epoch } of local.rows()) yield epoch;
        for (const { epoch } of verdicts.entries()) yield epoch;
      };
      const epochs = inKernel(this.maps.local, this.#table);
      return (this.#last = epochAbove(epochs, process.hrtime.bigint()));
    }
    return ++this.#last;
  }

  /** Removes rows of a previous agent, and rows of addresses that a pod no longer has. */
  #dropForeign(): void {
    const ours = new Map<string, Admitted>();
    for (const admitted of this.#pods.values())
      if (admitted.written) for (const ip of admitted.local.pod.addresses) ours.set(ip, admitted);
    this.maps.local.keep((ip, { cookie, epoch }) => {
      const owner = ours.get(ip);
      return owner?.local.netns.cookie === cookie && owner.epoch === epoch;
    });
    this.#allOurs = true;
  }

  /** Writes a pod's rows. If that fails, its rows and verdicts are removed if possible, since they rest on an outdated view. */
  #write(admitted: Admitted): void {
    const { local, epoch } = admitted;
    admitted.written = false;
    try {
      this.maps.local.put(local.pod.addresses, {
        cookie: local.netns.cookie,
        epoch,
        flags: local.pod.sameNode === 'kernel' ? localFlags.kernel : 0,
      });
      admitted.written = true;
    } catch (error) {
      this.onError(error);
      try {
        this.forget(local.netns.cookie);
      } catch (second) {
        this.onError(second); // renewLease() tries again before it renews
      }
    }
  }
}
