/**
 * Which pods the kernel may connect without the agent: allow verdicts per (source pod, destination pod, port), decided by the same
 * plan as the user-space path. Sole owner of weft_local, weft_verdicts and the lease (maps/local.ts, maps/verdicts.ts, maps/node.ts).
 */
import { isV6, type IpAddress } from '../../src/model/address.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { MeshView } from '../../src/state/store.js';
import type { LocalPod } from '../worker-ipc.js';
import { planOutbound } from '../proxy/choose-path.js';
import type { LocalTable } from '../maps/local.js';
import type { NodeMaps } from '../maps/node-maps.js';
import { localFlags } from '../maps/rows.generated.js';
import { InheritedEpochs } from './inherited.js';
import { VerdictTable } from '../maps/verdicts.js';
import { verdictInputsOf } from './verdict-inputs.js';

interface Admitted {
  readonly local: LocalPod;
  epoch: bigint;
  /** The kernel has this epoch; where it has not, the pod has no row there, or the lease is not renewed. */
  written: boolean;
  /** What its verdicts rest on, compared by identity: the view replaces what changes. */
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
  if (source.pod.sameNode !== 'kernel' || destination.pod.sameNode !== 'kernel') return false;
  const plans = source.pod.addresses.flatMap((sourceIp) =>
    destination.pod.addresses
      .filter((ip) => isV6(ip) === isV6(sourceIp))
      .map((ip) =>
        planOutbound(view, {
          source: source.pod,
          sourceIp,
          dialled: { ip, port },
          node,
          locality: (uid) => (uid === destination.pod.uid ? 'joined' : 'elsewhere'),
          random: 0,
        }),
      ),
  );
  return (
    plans.length > 0 &&
    plans.every(
      (plan) =>
        plan.kind === 'local' &&
        plan.workload.uid === destination.pod.uid &&
        // By a Service it would rest on all of that Service's endpoints.
        plan.service === undefined &&
        // What a policy in audit mode would deny has to be counted, and only the agent counts.
        plan.verdict.audited.length === 0,
    )
  );
}

/**
 * An epoch above all that verdicts in the kernel were decided at: those of its maps, and the time since boot in nanoseconds, which
 * outruns any count of changes. The maps are as old as this boot at most, so wall clocks have no say. Pure.
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
  /** Network namespaces that were admitted before: the former agent's epoch is kept only when a namespace is admitted for the first time. */
  readonly #firsts = new Set<bigint>();
  #last: bigint | undefined;
  /** Every row of weft_local is of a pod as this agent has admitted it. */
  #allOurs = false;

  constructor(
    private readonly maps: NodeMaps,
    private readonly view: MeshView,
    private readonly node: string,
    /** How long verdicts count after the lease was last renewed: what it allowed, a dead agent cannot take back. */
    private readonly leaseMs: number,
    /** A pod has more verdicts than its share: its oldest went. */
    onLimit: () => void = () => undefined,
    /** A pod's row could not be written; tried again before the lease is renewed. */
    private readonly onError: (error: unknown) => void = () => undefined,
    /** Set where a live agent handed the node over: the pod of a network namespace. */
    private readonly inheritedPodOf?: (cookie: bigint) => LocalPod | undefined,
    /** More verdicts were inherited than are looked at. */
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

  /** The pod is captured: from now on it can be reached by the kernel, once a verdict says so. Throws where its epoch is not known. */
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
    // Addresses that it had before stand at an epoch that no longer moves.
    this.#allOurs = false;
    this.#write(admitted);
  }

  dismiss(local: LocalPod): void {
    this.#pods.delete(local.pod.uid);
    this.forget(local.netns.cookie);
  }

  /** Removes what the kernel knows of a pod by its namespace, also where a former life of the agent wrote it. */
  forget(cookie: bigint): void {
    this.#allOurs = false;
    this.maps.local.removeOf(cookie);
    this.#table.forget(cookie);
  }

  /** Decides by the present view; writes a verdict where the kernel path is allowed, and returns whether it is. */
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

  /** After every change of the view: moves the epoch of the pods that it touches; true where there were any. */
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
   * Renews the lease, for what was decided by the present view alone: rows of pods that this agent has not admitted are removed, and a
   * pod whose row cannot be written has none. Where not even that can be done, the lease is left to end. Returns whether a change
   * had been missed; throws where the lease is not renewed.
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

  /** Rows of a former life of the agent, and of addresses that a pod has no longer. */
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

  /** Of a pod that is only half written, nothing is left if that can be done: what it said rests on what is no more. */
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
        this.onError(second); // renewLease() tries again, and renews nothing before
      }
    }
  }
}
