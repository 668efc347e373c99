/** The node's view of the mesh: one writer applies updates, everyone else reads. */
import type { IpAddress } from '../model/address.js';
import type { AuthorizationPolicy, PolicyKey } from '../model/policy.js';
import type { Service } from '../model/service.js';
import type { Locality, PortMapping, ServiceKey, Workload, WorkloadUid } from '../model/workload.js';

/** Plain, structured-cloneable data: it goes from the main thread to each worker. */
export interface MeshUpdate {
  readonly workloads?: readonly Workload[];
  readonly services?: readonly Service[];
  /** Names of workloads and services that are gone; the one kind of name is never the other's. */
  readonly removed?: readonly string[];
  readonly policies?: readonly AuthorizationPolicy[];
  readonly removedPolicies?: readonly string[];
}

export interface MeshView {
  workload(uid: WorkloadUid): Workload | undefined;
  workloadByAddress(ip: IpAddress): Workload | undefined;
  service(key: ServiceKey): Service | undefined;
  serviceByAddress(ip: IpAddress): Service | undefined;
  /** Where a node is, by what is told of its workloads. */
  localityOf(node: string): Locality | undefined;
  /**
   * The Services that stand before a workload's addresses: its own, and those whose endpoints were written by hand.
   */
  servicesOf(workload: Workload): ReadonlyMap<ServiceKey, readonly PortMapping[]>;
  /** All endpoints of a service, healthy or not. */
  endpointsOf(key: ServiceKey): readonly Workload[];
  /** Policies that apply to a workload: global, its namespace's, those that name it. */
  policiesFor(workload: {
    readonly namespace: string;
    readonly policies: readonly string[];
  }): readonly AuthorizationPolicy[];
  /** Policies that name the Service: for its waypoint alone. */
  policiesForService(key: ServiceKey): readonly AuthorizationPolicy[];
}

export class MeshState implements MeshView {
  readonly #workloads = new Map<WorkloadUid, Workload>();
  readonly #services = new Map<ServiceKey, Service>();
  readonly #policies = new Map<PolicyKey, AuthorizationPolicy>();
  readonly #byAddress = new Map<IpAddress, Map<WorkloadUid, Workload>>();
  readonly #serviceByAddress = new Map<IpAddress, Service>();
  readonly #endpoints = new Map<ServiceKey, Map<WorkloadUid, Workload>>();
  readonly #byNode = new Map<string, Map<WorkloadUid, Workload>>();

  apply(update: MeshUpdate): void {
    for (const name of update.removed ?? []) {
      this.#removeWorkload(name as WorkloadUid);
      this.#removeService(name as ServiceKey);
    }
    for (const workload of update.workloads ?? []) {
      this.#removeWorkload(workload.uid);
      this.#workloads.set(workload.uid, workload);
      for (const ip of workload.addresses) mapOf(this.#byAddress, ip).set(workload.uid, workload);
      for (const key of workload.services.keys()) mapOf(this.#endpoints, key).set(workload.uid, workload);
      mapOf(this.#byNode, workload.node).set(workload.uid, workload);
    }
    for (const service of update.services ?? []) {
      this.#removeService(service.key);
      this.#services.set(service.key, service);
      for (const { ip } of service.addresses) {
        // A name for somewhere else takes no address of a Service.
        const held = this.#serviceByAddress.get(ip);
        if (held && isOfCluster(held) && !isOfCluster(service)) continue;
        this.#serviceByAddress.set(ip, service);
      }
    }
    for (const key of update.removedPolicies ?? []) this.#policies.delete(key as PolicyKey);
    for (const policy of update.policies ?? []) this.#policies.set(policy.key, policy);
  }

  #removeWorkload(uid: WorkloadUid): void {
    const old = this.#workloads.get(uid);
    if (!old) return;
    this.#workloads.delete(uid);
    for (const ip of old.addresses) drop(this.#byAddress, ip, uid);
    for (const key of old.services.keys()) drop(this.#endpoints, key, uid);
    drop(this.#byNode, old.node, uid);
  }

  #removeService(key: ServiceKey): void {
    const old = this.#services.get(key);
    if (!old) return;
    this.#services.delete(key);
    // Another service may have taken the address over before this one's removal was told.
    for (const { ip } of old.addresses)
      if (this.#serviceByAddress.get(ip)?.key === key) this.#serviceByAddress.delete(ip);
  }

  workload(uid: WorkloadUid): Workload | undefined {
    return this.#workloads.get(uid);
  }
  workloadByAddress(ip: IpAddress): Workload | undefined {
    // While an address passes from one pod to the next both may be known, in any order: one choice on every node.
    let chosen: Workload | undefined;
    for (const workload of this.#byAddress.get(ip)?.values() ?? []) {
      if (
        !chosen ||
        (workload.healthy && !chosen.healthy) ||
        (workload.healthy === chosen.healthy && workload.uid < chosen.uid)
      ) {
        chosen = workload;
      }
    }
    return chosen;
  }
  service(key: ServiceKey): Service | undefined {
    return this.#services.get(key);
  }
  serviceByAddress(ip: IpAddress): Service | undefined {
    const service = this.#serviceByAddress.get(ip);
    if (!service || isOfCluster(service)) return service;
    // Nor one of a pod of the mesh.
    for (const workload of this.#byAddress.get(ip)?.values() ?? [])
      if (workload.tunnel === 'hbone') return undefined;
    return service;
  }
  servicesOf(workload: Workload): ReadonlyMap<ServiceKey, readonly PortMapping[]> {
    let all: Map<ServiceKey, readonly PortMapping[]> | undefined;
    for (const ip of workload.addresses) {
      const there = this.#byAddress.get(ip);
      if (!there || there.size < 2) continue;
      for (const other of there.values()) {
        if (other.uid === workload.uid) continue;
        all ??= new Map(workload.services);
        for (const [key, ports] of other.services) all.set(key, [...(all.get(key) ?? []), ...ports]);
      }
    }
    return all ?? workload.services;
  }
  localityOf(node: string): Locality | undefined {
    // All workloads of a node are told the same.
    for (const { locality } of this.#byNode.get(node)?.values() ?? []) return locality;
    return undefined;
  }
  endpointsOf(key: ServiceKey): readonly Workload[] {
    return [...(this.#endpoints.get(key)?.values() ?? [])];
  }
  policiesFor(workload: {
    readonly namespace: string;
    readonly policies: readonly string[];
  }): readonly AuthorizationPolicy[] {
    return [...this.#policies.values()].filter(
      (policy) =>
        policy.services.length === 0 &&
        (policy.scope === 'global' ||
          (policy.scope === 'namespace' && policy.namespace === workload.namespace) ||
          (policy.scope === 'workload' && workload.policies.includes(policy.key))),
    );
  }
  policiesForService(key: ServiceKey): readonly AuthorizationPolicy[] {
    return [...this.#policies.values()].filter(({ services }) => services.includes(key));
  }

  /** All of it as one update, for a worker that starts later. */
  full(): MeshUpdate {
    return {
      workloads: [...this.#workloads.values()],
      services: [...this.#services.values()],
      policies: [...this.#policies.values()],
    };
  }

  /** For the admin endpoint's dump. */
  dump(): { workloads: object[]; services: object[]; policies: object[] } {
    return {
      workloads: [...this.#workloads.values()].map((w) => ({
        ...w,
        services: Object.fromEntries(w.services),
      })),
      services: [...this.#services.values()],
      policies: [...this.#policies.values()],
    };
  }
}

/** Of Kubernetes, not a name for somewhere else (ExternalService). */
const isOfCluster = ({ hostname }: Service): boolean => hostname.endsWith('.svc.cluster.local');

function mapOf<K, A, B>(map: Map<K, Map<A, B>>, key: K): Map<A, B> {
  let inner = map.get(key);
  if (!inner) map.set(key, (inner = new Map()));
  return inner;
}

function drop<K, A, B>(map: Map<K, Map<A, B>>, key: K, item: A): void {
  const inner = map.get(key);
  inner?.delete(item);
  if (inner?.size === 0) map.delete(key);
}
