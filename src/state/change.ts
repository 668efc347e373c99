/**
 * Computes what a mesh update affects, so that decisions that depend on nothing in it need not be made again. The change is computed
 * before the update is applied, because replaced and removed objects count as much as the new ones.
 *
 * A decision about a workload depends on: the workload; other workloads with its addresses (their Services front it too); the Services
 * that front it; the policies that apply to it; the replicas of the waypoints of these Services. `touchesWorkload` covers all of these;
 * src/state/change.test.ts checks it against random changes.
 */
import type { IpAddress } from '../model/address.js';
import { claimRankOf, claimRanks } from '../model/ownership.js';
import type { AuthorizationPolicy, PolicyKey } from '../model/policy.js';
import type { ServiceKey, WaypointRef, Workload, WorkloadUid } from '../model/workload.js';
import type { MeshUpdate, MeshView } from './store.js';

export interface MeshChange {
  /** A mesh-wide policy changed. */
  readonly all: boolean;
  readonly workloads: ReadonlySet<WorkloadUid>;
  /** Addresses of workloads and Services that were added, changed or removed. */
  readonly addresses: ReadonlySet<IpAddress>;
  /** Changed references (endpoints that own no address, valid in their own namespace only), as `<namespace> <address>`. */
  readonly references: ReadonlySet<string>;
  readonly services: ReadonlySet<ServiceKey>;
  /** Services whose set of endpoints changed. */
  readonly endpointsOf: ReadonlySet<ServiceKey>;
  /** Namespaces whose own policies changed. */
  readonly namespaces: ReadonlySet<string>;
  /** Changed policies that workloads list by key. */
  readonly policies: ReadonlySet<string>;
  /** Services that a changed policy targets. */
  readonly policyServices: ReadonlySet<ServiceKey>;
}

type Scope = Pick<AuthorizationPolicy, 'key' | 'namespace' | 'scope' | 'services'>;

/** Remembers what each policy applied to before an update: the view offers no lookup of policies by key. */
export class ChangeTracker {
  readonly #policies = new Map<PolicyKey, Scope>();

  constructor(private readonly view: MeshView) {}

  /** The change that an update makes. Must be called for every update, before the view applies it. */
  of(update: MeshUpdate): MeshChange {
    const change = {
      all: false,
      workloads: new Set<WorkloadUid>(),
      addresses: new Set<IpAddress>(),
      references: new Set<string>(),
      services: new Set<ServiceKey>(),
      endpointsOf: new Set<ServiceKey>(),
      namespaces: new Set<string>(),
      policies: new Set<string>(),
      policyServices: new Set<ServiceKey>(),
    };
    const { view } = this;
    const workload = (one: Workload | undefined): void => {
      if (!one) return;
      const isReference = claimRankOf(one.uid) === claimRanks.reference;
      for (const ip of one.addresses) {
        if (isReference) change.references.add(`${one.namespace} ${ip}`);
        else change.addresses.add(ip);
      }
      for (const key of one.services.keys()) change.endpointsOf.add(key);
    };
    const service = (key: ServiceKey, ips: readonly { readonly ip: IpAddress }[]): void => {
      change.services.add(key);
      for (const { ip } of [...ips, ...(view.service(key)?.addresses ?? [])]) change.addresses.add(ip);
    };
    for (const name of update.removed ?? []) {
      // A workload's name is never also a Service's name. No decision depends on an unknown name.
      change.workloads.add(name as WorkloadUid);
      workload(view.workload(name as WorkloadUid));
      service(name as ServiceKey, []);
    }
    for (const one of update.workloads ?? []) {
      change.workloads.add(one.uid);
      workload(view.workload(one.uid));
      workload(one);
    }
    for (const one of update.services ?? []) service(one.key, one.addresses);
    const policy = (one: Scope | undefined): void => {
      if (!one) return;
      for (const key of one.services) change.policyServices.add(key as ServiceKey);
      if (one.services.length > 0) return;
      if (one.scope === 'global') change.all = true;
      else if (one.scope === 'namespace') change.namespaces.add(one.namespace);
      else change.policies.add(one.key);
    };
    for (const key of update.removedPolicies ?? []) {
      policy(this.#policies.get(key as PolicyKey));
      this.#policies.delete(key as PolicyKey);
    }
    for (const one of update.policies ?? []) {
      policy(this.#policies.get(one.key));
      policy(one);
      const { key, namespace, scope, services } = one;
      this.#policies.set(key, { key, namespace, scope, services });
    }
    return change;
  }
}

/** Whether a decision about connections to the workload may differ now. `view`: the state after the update. */
export function touchesWorkload(view: MeshView, change: MeshChange, workload: Workload): boolean {
  if (touchesOwn(view, change, workload)) return true;
  if (workload.waypoint && touchesWaypoint(view, change, workload.waypoint)) return true;
  for (const key of view.servicesOf(workload).keys()) {
    const waypoint = view.service(key)?.waypoint;
    if (waypoint && touchesWaypoint(view, change, waypoint)) return true;
  }
  return false;
}

/**
 * `touchesWorkload` without the replicas of its waypoints: whether the workload, its Services or the policies for it may differ now. A
 * waypoint decides by these alone, so a change of its own replicas does not concern its requests.
 */
export function touchesOwn(view: MeshView, change: MeshChange, workload: Workload): boolean {
  if (change.all || change.workloads.has(workload.uid) || change.namespaces.has(workload.namespace))
    return true;
  if (workload.addresses.some((ip) => change.addresses.has(ip))) return true;
  if (workload.addresses.some((ip) => change.references.has(`${workload.namespace} ${ip}`))) return true;
  if (workload.policies.some((key) => change.policies.has(key))) return true;
  if (change.services.size === 0 && change.policyServices.size === 0) return false;
  for (const key of view.servicesOf(workload).keys())
    if (change.services.has(key) || change.policyServices.has(key)) return true;
  return false;
}

/** Whether the replicas of a waypoint changed: the endpoints of its Service, or the owner of its address. */
function touchesWaypoint(view: MeshView, change: MeshChange, reference: WaypointRef): boolean {
  if (reference.kind === 'hostname')
    return change.endpointsOf.has(reference.service) || change.services.has(reference.service);
  if (change.addresses.has(reference.ip)) return true;
  for (const key of change.endpointsOf)
    if (view.service(key)?.addresses.some(({ ip }) => ip === reference.ip)) return true;
  return false;
}

/** `touchesWorkload` by uid, evaluated once per workload. A workload unknown to the view is touched if the update names it. */
export function touchedWorkloads(view: MeshView, change: MeshChange): (uid: WorkloadUid) => boolean {
  const known = new Map<WorkloadUid, boolean>();
  return (uid) => {
    let found = known.get(uid);
    if (found === undefined) {
      const workload = view.workload(uid);
      found = workload ? touchesWorkload(view, change, workload) : change.workloads.has(uid);
      known.set(uid, found);
    }
    return found;
  };
}
