/**
 * What the kernel may carry without asking: allow verdicts per (source pod, destination pod, port), decided by the same plan
 * as the user-space path. Sole owner of weft_local, weft_verdicts and the lease.
 */
import { isV6 } from '../../src/model/address.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { MeshView } from '../../src/state/store.js';
import type { Datapath } from '../datapath/loader.js';
import {
  decodeLocal,
  encodeIp,
  encodeLocal,
  encodeU32,
  encodeU64,
  localFlags,
  nodeSlots,
} from '../datapath/layout.js';
import type { LocalPod } from '../messages.js';
import { planOutbound } from '../proxy/plan.js';
import { VerdictShare } from './verdict-share.js';
import { marksOf } from './marks.js';

interface Admitted {
  readonly local: LocalPod;
  epoch: bigint;
  /** What its verdicts rest on, compared by identity: the view replaces what changes. */
  marks: readonly unknown[];
}

/** True where every address of `source` may reach `port` at every address of `destination` of its family, unaudited. */
export function kernelMayCarry(
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

export class Verdicts {
  readonly #pods = new Map<WorkloadUid, Admitted>();
  readonly #share: VerdictShare;

  constructor(
    private readonly datapath: Datapath,
    private readonly view: MeshView,
    private readonly node: string,
    /** How long verdicts count after the last heartbeat: what it allowed, a dead agent cannot take back. */
    private readonly leaseMs: number,
    /** A pod has more verdicts than its share: its oldest went. */
    onLimit: () => void = () => undefined,
  ) {
    this.#share = new VerdictShare(datapath.map('weft_verdicts'), onLimit);
  }

  /** The pod is captured: from now on it can be reached by the kernel, once a verdict says so. */
  admit(local: LocalPod): void {
    const table = this.datapath.map('weft_local');
    const former = local.pod.addresses
      .map((ip) => table.lookup(encodeIp(ip)))
      .flatMap((bytes) => (bytes ? [decodeLocal(bytes).epoch] : []));
    // Never an epoch that any verdict in the kernel was decided at, also by a former life of the agent.
    const epoch = [...former, BigInt(Date.now())].reduce((a, b) => (a > b ? a : b)) + 1n;
    const admitted = { local, epoch, marks: marksOf(this.view, local.pod) };
    this.#pods.set(local.pod.uid, admitted);
    this.#write(admitted);
  }

  dismiss(local: LocalPod): void {
    this.#pods.delete(local.pod.uid);
    this.forget(local.place.cookie);
  }

  /** Removes what the kernel knows of a pod by its namespace, also where a former life of the agent wrote it. */
  forget(cookie: bigint): void {
    const table = this.datapath.map('weft_local');
    for (const key of table.keys()) {
      const bytes = table.lookup(key);
      if (bytes && decodeLocal(bytes).cookie === cookie) table.remove(key);
    }
    this.#share.forget(cookie);
  }

  /** Decides by the present view; writes a verdict where the answer is yes. */
  learn(sourceUid: WorkloadUid, destinationUid: WorkloadUid, port: number): boolean {
    const source = this.#pods.get(sourceUid);
    const destination = this.#pods.get(destinationUid);
    if (!source || !destination) return false;
    if (!kernelMayCarry(this.view, source.local, destination.local, port, this.node)) return false;
    this.#share.allow(source.local.place.cookie, destination.local.place.cookie, port, destination.epoch);
    return true;
  }

  /** After every change of the view: moves the epoch of the pods that it touches; true where there were any. */
  refresh(): boolean {
    let moved = false;
    for (const admitted of this.#pods.values()) {
      const marks = marksOf(this.view, admitted.local.pod);
      if (marks.length === admitted.marks.length && marks.every((mark, i) => mark === admitted.marks[i]))
        continue;
      admitted.marks = marks;
      admitted.epoch++;
      this.#write(admitted);
      moved = true;
    }
    return moved;
  }

  /** The heartbeat. */
  beat(): void {
    const until = process.hrtime.bigint() + BigInt(this.leaseMs) * 1_000_000n;
    this.datapath.map('weft_node').update(encodeU32(nodeSlots.lease), encodeU64(until));
  }

  #write({ local, epoch }: Admitted): void {
    const table = this.datapath.map('weft_local');
    const entry = encodeLocal({
      cookie: local.place.cookie,
      epoch,
      flags: local.pod.sameNode === 'kernel' ? localFlags.kernel : 0,
    });
    for (const ip of local.pod.addresses) table.update(encodeIp(ip), entry);
  }
}
