/**
 * What an update of the mesh touches: by it decisions that rest on something else are left alone. Computed ahead of the update, since
 * what is replaced or removed counts as much as what comes in its place.
 *
 * A decision about a workload rests on: the workload; who else has its addresses (their Services stand before it too); the Services
 * that stand before it; the policies that apply to it; who answers for the waypoints of these Services. `touchesWorkload` covers all
 * of it, and src/state/change.test.ts holds it against random changes.
 */
import type { IpAddress } from '../model/address.js';
import { claimRankOf, claimRanks } from '../model/ownership.js';
import type { AuthorizationPolicy, PolicyKey } from '../model/policy.js';
import type { ServiceKey, WaypointRef, Workload, WorkloadUid } from '../model/workload.js';
import type { MeshUpdate, MeshView } from './store.js';

export interface MeshChange {
  /** A policy of the whole mesh changed. */
  readonly all: boolean;
  readonly workloads: ReadonlySet<WorkloadUid>;
  /** Of workloads and Services that came, changed or went. */
  readonly addresses: ReadonlySet<IpAddress>;
  /** Of endpoints that own no address, which count in their own namespace alone: namespace and address. */
  readonly references: ReadonlySet<string>;
  readonly services: ReadonlySet<ServiceKey>;
  /** Services that have another set of endpoints. */
  readonly endpointsOf: ReadonlySet<ServiceKey>;
  /** Namespaces whose own policies changed. */
  readonly namespaces: ReadonlySet<string>;
  /** Policies that workloads name. */
  readonly policies: ReadonlySet<string>;
  /** Services that are named by a policy that changed. */
  readonly policyServices: ReadonlySet<ServiceKey>;
}

type Scope = Pick<AuthorizationPolicy, 'key' | 'namespace' | 'scope' | 'services'>;

/** Keeps what policies applied to before, which the view does not tell by their names. */
export class ChangeTracker {
  readonly #policies = new Map<PolicyKey, Scope>();

  constructor(private readonly view: MeshView) {}

  /** Called with each update, before the view takes it. */
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
      // The one kind of name is never the other's; of what is not known nothing was decided.
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

/** Whether a decision about connections to the workload may come out differently now. `view`: after the update. */
export function touchesWorkload(view: MeshView, change: MeshChange, workload: Workload): boolean {
  if (change.all || change.workloads.has(workload.uid) || change.namespaces.has(workload.namespace))
    return true;
  if (workload.addresses.some((ip) => change.addresses.has(ip))) return true;
  if (workload.addresses.some((ip) => change.references.has(`${workload.namespace} ${ip}`))) return true;
  if (workload.policies.some((key) => change.policies.has(key))) return true;
  if (workload.waypoint && touchesWaypoint(view, change, workload.waypoint)) return true;
  for (const key of view.servicesOf(workload).keys()) {
    if (change.services.has(key) || change.policyServices.has(key)) return true;
    const waypoint = view.service(key)?.waypoint;
    if (waypoint && touchesWaypoint(view, change, waypoint)) return true;
  }
  return false;
}

/** Who answers for it: its Service's endpoints, or who has its address. */
function touchesWaypoint(view: MeshView, change: MeshChange, reference: WaypointRef): boolean {
  if (reference.kind === 'hostname')
    return change.endpointsOf.has(reference.service) || change.services.has(reference.service);
  if (change.addresses.has(reference.ip)) return true;
  for (const key of change.endpointsOf)
    if (view.service(key)?.addresses.some(({ ip }) => ip === reference.ip)) return true;
  return false;
}

/** `touchesWorkload` by name, each workload looked at once. One that the view does not know is touched where the update names it. */
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
