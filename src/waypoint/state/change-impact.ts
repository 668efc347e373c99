/** Which of a waypoint's decisions a mesh update affects. All other requests and connections are not authorized again. */
import { claimRankOf, claimRanks } from '../../model/ownership.js';
import type { IpAddress } from '../../model/address.js';
import type { ServiceKey, WorkloadUid } from '../../model/workload.js';
import { touchesOwn, type MeshChange } from '../../state/change.js';
import type { MeshView } from '../../state/store.js';
import { reachableBy, type ServicePort } from '../authorization/reachable.js';
import type { Endpoint } from '../cluster/endpoint.js';

/**
 * The impact of one change. For a pod that the change does not concern, each method is one lookup in `candidatePods`. That set is computed from the
 * change alone, so its cost does not depend on the number of pods, requests and connections.
 */
export class ChangeImpact {
  /** The change concerns workloads by their namespace or policies, so any workload may be affected. */
  readonly mayAffectAll: boolean;
  /** A superset of the affected pods; empty if `mayAffectAll`. */
  readonly candidatePods: ReadonlySet<WorkloadUid>;
  readonly #workloads = new Map<WorkloadUid, boolean>();
  readonly #viaServices = new Map<string, boolean>();

  /** @param view the state after the update */
  constructor(
    private readonly view: MeshView,
    private readonly node: string,
    private readonly change: MeshChange,
  ) {
    this.mayAffectAll = change.all || change.namespaces.size > 0 || change.policies.size > 0;
    this.candidatePods = this.mayAffectAll ? new Set() : candidatePodsOf(view, change);
  }

  /** Workloads that were added, changed or removed. */
  workloads(): Iterable<WorkloadUid> {
    return this.change.workloads;
  }

  /** Services that were added, changed or removed, or whose own policies changed. */
  *services(): Iterable<ServiceKey> {
    yield* this.change.services;
    yield* this.change.policyServices;
  }

  /** True: the update may change which policies apply to this workload, or whether the waypoint serves it. */
  workload(uid: WorkloadUid): boolean {
    if (!this.mayAffectAll && !this.candidatePods.has(uid) && claimRankOf(uid) === claimRanks.pod)
      return false;
    let found = this.#workloads.get(uid);
    if (found === undefined) {
      const workload = this.view.workload(uid);
      found = workload ? touchesOwn(this.view, this.change, workload) : this.change.workloads.has(uid);
      this.#workloads.set(uid, found);
    }
    return found;
  }

  /** True: the workload is gone, so the policies for it are those of its last state. */
  isGone(uid: WorkloadUid): boolean {
    return this.view.workload(uid) === undefined;
  }

  /** True: the update affects the Service that the request was sent to, or a workload that the endpoint may lead to. */
  endpoint(endpoint: Endpoint, sent: ServicePort | undefined): boolean {
    const { change } = this;
    if (sent && (change.services.has(sent.service) || change.policyServices.has(sent.service))) return true;
    if (this.workload(endpoint.workload.uid)) return true;
    if (this.isGone(endpoint.workload.uid) && touchesOwn(this.view, change, endpoint.workload)) return true;
    if (!endpoint.via || !sent) return false;
    if (change.endpointsOf.has(sent.service)) return true;
    const name = `${sent.service} ${sent.port} ${endpoint.target.ip}`;
    let found = this.#viaServices.get(name);
    if (found === undefined) {
      found = reachableBy(this.view, this.node, endpoint, sent).some(({ workload }) =>
        this.workload(workload.uid),
      );
      this.#viaServices.set(name, found);
    }
    return found;
  }
}

/**
 * A superset of the pods that a change touches by their name, their address, or a Service that fronts them (src/state/change.ts): all pods at
 * the address of anything that changed, and at the address of any endpoint of a Service that changed.
 */
function candidatePodsOf(view: MeshView, change: MeshChange): Set<WorkloadUid> {
  const candidates = new Set(change.workloads);
  const at = (ip: IpAddress): void => {
    for (const { uid } of view.claimantsOf(ip)) candidates.add(uid);
  };
  for (const ip of change.addresses) at(ip);
  for (const reference of change.references) at(reference.slice(reference.indexOf(' ') + 1) as IpAddress);
  for (const services of [change.services, change.policyServices]) {
    for (const key of services) {
      for (const { uid, addresses } of view.endpointsOf(key)) {
        candidates.add(uid);
        for (const ip of addresses) at(ip);
      }
    }
  }
  return candidates;
}
