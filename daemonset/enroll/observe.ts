/**
 * Observes the wanted pods of this node: the network namespace of each, or why it is unknown. Sole owner of what the CNI plugin reported of
 * starting pods.
 */
import type { IpAddress } from '../../src/model/address.js';
import type { NodePod } from '../../src/model/node-pod.js';
import { observe, type Observation } from '../pod/netns.js';
import type { Intent, Seen } from './decide.js';
import type { NetnsFinder } from './netns-finder.js';
import { refusalOf, type NetnsRules } from './rules.js';

export interface ObserverParts {
  readonly namespaces: Pick<NetnsFinder, 'refresh' | 'pathOf' | 'hold' | 'forget' | 'problem'>;
  readonly rules: NetnsRules;
  /** Network namespaces that are never a pod's, whatever discovery says: the agent's own and the machine's. */
  readonly neverPods: ReadonlySet<bigint>;
  /** observe() of pod/netns.ts if absent. */
  readonly observe?: (path: string) => Observation;
}

export class PodObserver {
  readonly #parts: ObserverParts;
  /** By pod UID: addresses that the CNI plugin reported before the control plane could send them. */
  readonly #started = new Map<string, readonly IpAddress[]>();

  constructor(parts: ObserverParts) {
    this.#parts = parts;
  }

  /**
   * The CNI plugin holds the pod's sandbox. No process exists yet by which its network namespace could be found. Throws if `netns` cannot
   * be opened.
   */
  start(podUid: string, netns: string, addresses: readonly IpAddress[]): void {
    this.#parts.namespaces.hold(podUid, netns);
    this.#started.set(podUid, addresses);
  }

  /** Whether the pod was seen before its first process, and so before its first packet. */
  isStarted(podUid: string): boolean {
    return this.#started.has(podUid);
  }

  /** The pod has a new sandbox. */
  forget(podUid: string): void {
    this.#parts.namespaces.forget(podUid);
    this.#started.delete(podUid);
  }

  /** Observes pods that name their network namespace (without Kubernetes) and pods that are found by their processes. */
  observe(pods: readonly NodePod[]): Intent[] {
    const { namespaces } = this.#parts;
    const wanted = new Set(pods.map(({ podUid }) => podUid));
    for (const podUid of [...this.#started.keys()]) if (!wanted.has(podUid)) this.#started.delete(podUid);
    wanted.delete('');
    namespaces.refresh(wanted);
    return pods.map((pod) => this.#observePod(pod));
  }

  #observePod(wanted: NodePod): Intent {
    const { namespaces, rules } = this.#parts;
    // A Kubernetes pod is found only by its processes: its author could name the network namespace of another pod.
    const found = wanted.podUid === '' ? wanted : { ...wanted, netns: '' };
    const addresses = found.addresses.length === 0 ? this.#started.get(found.podUid) : undefined;
    const pod = addresses ? { ...found, addresses } : found;
    const refused = refusalOf(found, rules);
    if (refused !== undefined) return { pod, seen: { kind: 'refused', why: refused } };
    const netns = found.netns === '' ? namespaces.pathOf(found.podUid) : found.netns;
    if (netns === undefined) return { pod, seen: this.#unseen() };
    return { pod: { ...pod, netns }, seen: this.#see(netns) };
  }

  #unseen(): Observation {
    const { problem } = this.#parts.namespaces;
    return problem === undefined
      ? { kind: 'absent', why: 'no process of the pod is in a network namespace of its own yet' }
      : { kind: 'unknown', why: `the search for the pod's processes failed: ${problem}` };
  }

  #see(netns: string): Seen {
    const seen = (this.#parts.observe ?? observe)(netns);
    return seen.kind === 'present' && this.#parts.neverPods.has(seen.cookie)
      ? { kind: 'refused', why: `${netns} is the node's own network namespace, which is never a pod` }
      : seen;
  }
}
