/** The node's view of the mesh. A single writer applies updates; all other code reads. */
import type { IpAddress } from '../model/address.js';
import { claimRankOf, claimRanks, countsFor, mayStandBefore, namespaceOfKey } from '../model/ownership.js';
import type { AuthorizationPolicy, PolicyKey } from '../model/policy.js';
import type { Service } from '../model/service.js';
import type { Locality, PortMapping, ServiceKey, Workload, WorkloadUid } from '../model/workload.js';

/** Structured-cloneable: the main thread sends updates to each worker. */
export interface MeshUpdate {
  readonly workloads?: readonly Workload[];
  readonly services?: readonly Service[];
  /** Names of deleted workloads and services. A workload's name is never also a service's name. */
  readonly removed?: readonly string[];
  readonly policies?: readonly AuthorizationPolicy[];
  readonly removedPolicies?: readonly string[];
}

export interface MeshView {
  workloads(): Iterable<Workload>;
  workload(uid: WorkloadUid): Workload | undefined;
  /**
   * The workload that a directly dialed address belongs to: the strongest claim valid for clients of `clientNamespace`
   * (src/model/ownership.ts). With `clientNamespace` undefined only claims valid for every client count.
   */
  workloadByAddress(ip: IpAddress, clientNamespace: string | undefined): Workload | undefined;
  /**
   * Workloads that could own an address, strongest claim first: the pods with that address, or else the Workloads, for whichever clients
   * their claims are valid. References are never included.
   */
  claimantsOf(ip: IpAddress): readonly Workload[];
  service(key: ServiceKey): Service | undefined;
  /** The Service that has this address, for clients of a namespace. A pod's address never belongs to a Service. */
  serviceByAddress(ip: IpAddress, clientNamespace: string | undefined): Service | undefined;
  /** The locality of a node, taken from its workloads. */
  localityOf(node: string): Locality | undefined;
  /**
   * The Services that front a workload's addresses: Services that select the workload, and Services with hand-written endpoints at these
   * addresses. Only Services of the workload's own namespace count.
   */
  servicesOf(workload: Workload): ReadonlyMap<ServiceKey, readonly PortMapping[]>;
  /** All endpoints of a service, healthy or not. */
  endpointsOf(key: ServiceKey): readonly Workload[];
  /** Policies that apply to a workload: global policies, its namespace's policies, and policies that the workload lists. */
  policiesFor(workload: {
    readonly namespace: string;
    readonly policies: readonly string[];
  }): readonly AuthorizationPolicy[];
  /** Policies that target the Service. Only its waypoint enforces them. */
  policiesForService(key: ServiceKey): readonly AuthorizationPolicy[];
}

export class MeshState implements MeshView {
  readonly #workloads = new Map<WorkloadUid, Workload>();
  readonly #services = new Map<ServiceKey, Service>();
  readonly #policies = new Map<PolicyKey, AuthorizationPolicy>();
  /** Pods and Workloads: the kinds that may own an address. */
  readonly #byAddress = new Map<IpAddress, Map<WorkloadUid, Workload>>();
  /** References by namespace and address, so that a lookup never scans another namespace's references. */
  readonly #references = new Map<string, Map<WorkloadUid, Workload>>();
  readonly #servicesByAddress = new Map<IpAddress, Map<ServiceKey, Service>>();
  readonly #endpoints = new Map<ServiceKey, Map<WorkloadUid, Workload>>();
  readonly #byNode = new Map<string, Map<WorkloadUid, Workload>>();
  /** Policies indexed by scope (mesh, namespace, Service), so that a lookup never scans another namespace's policies. */
  readonly #globalPolicies = new Map<PolicyKey, AuthorizationPolicy>();
  readonly #policiesByNamespace = new Map<string, Map<PolicyKey, AuthorizationPolicy>>();
  readonly #policiesByService = new Map<string, Map<PolicyKey, AuthorizationPolicy>>();

  apply(update: MeshUpdate): void {
    for (const name of update.removed ?? []) {
      this.#removeWorkload(name as WorkloadUid);
      this.#removeService(name as ServiceKey);
    }
    for (const workload of update.workloads ?? []) {
      this.#removeWorkload(workload.uid);
      this.#workloads.set(workload.uid, workload);
      for (const ip of workload.addresses) {
        if (isReference(workload))
          mapOf(this.#references, referenceAt(workload.namespace, ip)).set(workload.uid, workload);
        else mapOf(this.#byAddress, ip).set(workload.uid, workload);
      }
      for (const key of workload.services.keys()) mapOf(this.#endpoints, key).set(workload.uid, workload);
      if (!isReference(workload)) mapOf(this.#byNode, workload.node).set(workload.uid, workload);
    }
    for (const service of update.services ?? []) {
      this.#removeService(service.key);
      this.#services.set(service.key, service);
      for (const { ip } of service.addresses) mapOf(this.#servicesByAddress, ip).set(service.key, service);
    }
    for (const key of update.removedPolicies ?? []) this.#removePolicy(key as PolicyKey);
    for (const policy of update.policies ?? []) {
      this.#removePolicy(policy.key);
      this.#policies.set(policy.key, policy);
      if (policy.services.length > 0)
        for (const service of policy.services)
          mapOf(this.#policiesByService, service).set(policy.key, policy);
      else if (policy.scope === 'global') this.#globalPolicies.set(policy.key, policy);
      else if (policy.scope === 'namespace')
        mapOf(this.#policiesByNamespace, policy.namespace).set(policy.key, policy);
    }
  }

  #removePolicy(key: PolicyKey): void {
    const old = this.#policies.get(key);
    if (!old) return;
    this.#policies.delete(key);
    this.#globalPolicies.delete(key);
    drop(this.#policiesByNamespace, old.namespace, key);
    for (const service of old.services) drop(this.#policiesByService, service, key);
  }

  #removeWorkload(uid: WorkloadUid): void {
    const old = this.#workloads.get(uid);
    if (!old) return;
    this.#workloads.delete(uid);
    for (const ip of old.addresses) {
      if (isReference(old)) drop(this.#references, referenceAt(old.namespace, ip), uid);
      else drop(this.#byAddress, ip, uid);
    }
    for (const key of old.services.keys()) drop(this.#endpoints, key, uid);
    drop(this.#byNode, old.node, uid);
  }

  #removeService(key: ServiceKey): void {
    const old = this.#services.get(key);
    if (!old) return;
    this.#services.delete(key);
    for (const { ip } of old.addresses) drop(this.#servicesByAddress, ip, key);
  }

  workloads(): Iterable<Workload> {
    return this.#workloads.values();
  }
  workload(uid: WorkloadUid): Workload | undefined {
    return this.#workloads.get(uid);
  }
  workloadByAddress(ip: IpAddress, clientNamespace: string | undefined): Workload | undefined {
    // While an address moves between pods, both may be present, received in any order. Every node must choose the same one.
    let chosen: Workload | undefined;
    for (const workload of this.#byAddress.get(ip)?.values() ?? []) {
      if (!countsFor(workload, clientNamespace)) continue;
      if (!chosen || comesBefore(workload, chosen, clientNamespace)) chosen = workload;
    }
    if (chosen || clientNamespace === undefined || this.#references.size === 0) return chosen;
    for (const workload of this.#references.get(referenceAt(clientNamespace, ip))?.values() ?? [])
      if (!chosen || comesBefore(workload, chosen)) chosen = workload;
    return chosen;
  }
  claimantsOf(ip: IpAddress): readonly Workload[] {
    const there = [...(this.#byAddress.get(ip)?.values() ?? [])];
    const pods = there.filter(isPod);
    const owners = pods.length > 0 ? pods : there;
    return owners.sort((a, b) => (comesBefore(a, b) ? -1 : 1));
  }
  service(key: ServiceKey): Service | undefined {
    return this.#services.get(key);
  }
  serviceByAddress(ip: IpAddress, clientNamespace: string | undefined): Service | undefined {
    const claimants = this.#servicesByAddress.get(ip);
    if (!claimants) return undefined;
    // The control plane, which knows the ages of objects, has resolved competing claims. Here every node only has to choose the same one.
    let chosen: Service | undefined;
    for (const service of claimants.values()) {
      if (service.scope !== undefined && service.namespace !== clientNamespace) continue;
      if (!chosen || isStronger(service, chosen, clientNamespace)) chosen = service;
    }
    if (!chosen) return undefined;
    // A pod's address belongs to the pod. A Service that names something outside of the cluster also yields to a Workload.
    const owner = this.workloadByAddress(ip, clientNamespace);
    if (!owner) return chosen;
    const ownerRank = claimRankOf(owner.uid);
    const rank = isOfCluster(chosen) ? claimRanks.service : claimRanks.reference;
    return ownerRank < rank ? undefined : chosen;
  }
  servicesOf(workload: Workload): ReadonlyMap<ServiceKey, readonly PortMapping[]> {
    const stands = (key: ServiceKey): boolean => mayStandBefore(namespaceOfKey(key), workload.namespace);
    let all: Map<ServiceKey, readonly PortMapping[]> | undefined;
    for (const key of workload.services.keys()) {
      if (stands(key)) continue;
      all ??= new Map(workload.services);
      all.delete(key);
    }
    // Pods on the host network share the node's address, so an endpoint with that address does not identify one of them.
    for (const ip of workload.hostNetwork ? [] : workload.addresses) {
      const owners = this.#byAddress.get(ip);
      const references =
        this.#references.size > 0 ? this.#references.get(referenceAt(workload.namespace, ip)) : undefined;
      if ((owners?.size ?? 0) < 2 && !references) continue;
      for (const other of [...(owners?.values() ?? []), ...(references?.values() ?? [])]) {
        if (other.uid === workload.uid) continue;
        for (const [key, ports] of other.services) {
          if (!stands(key)) continue;
          all ??= new Map(workload.services);
          all.set(key, [...(all.get(key) ?? []), ...ports]);
        }
      }
    }
    return all ?? workload.services;
  }
  localityOf(node: string): Locality | undefined {
    // All pods of a node have the same locality. Hand-written endpoints may name any node and have no locality, so they are not indexed.
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
    const named: AuthorizationPolicy[] = [];
    for (const key of new Set(workload.policies)) {
      const policy = this.#policies.get(key as PolicyKey);
      if (policy?.scope === 'workload' && policy.services.length === 0) named.push(policy);
    }
    return [
      ...this.#globalPolicies.values(),
      ...(this.#policiesByNamespace.get(workload.namespace)?.values() ?? []),
      ...named,
    ];
  }
  policiesForService(key: ServiceKey): readonly AuthorizationPolicy[] {
    return [...(this.#policiesByService.get(key)?.values() ?? [])];
  }

  /** The whole state as one update, for a worker that starts later. */
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

const isPod = ({ uid }: Workload): boolean => claimRankOf(uid) === claimRanks.pod;
const isReference = ({ uid }: Workload): boolean => claimRankOf(uid) === claimRanks.reference;
const referenceAt = (namespace: string, ip: IpAddress): string => `${namespace} ${ip}`;

/**
 * Whether `a` wins over `b` for an address that both claim. Order: rank first, so that an unready pod remains the owner; among Workloads
 * the one in the client's namespace; then the healthy one; then the smaller uid.
 */
function comesBefore(a: Workload, b: Workload, clientNamespace?: string): boolean {
  const [rankA, rankB] = [claimRankOf(a.uid), claimRankOf(b.uid)];
  if (rankA !== rankB) return rankA < rankB;
  const isNear = a.namespace === clientNamespace;
  if (rankA === claimRanks.workload && isNear !== (b.namespace === clientNamespace)) return isNear;
  if (a.healthy !== b.healthy) return a.healthy;
  return a.uid < b.uid;
}

/** Lower wins: Services of the cluster, then host names defined in the client's namespace, then those of other namespaces. */
const strengthOf = (service: Service, clientNamespace: string | undefined): number =>
  isOfCluster(service) ? 0 : service.namespace === clientNamespace ? 1 : 2;

/** Whether `a` wins over `b` for an address that both have. */
function isStronger(a: Service, b: Service, clientNamespace: string | undefined): boolean {
  const difference = strengthOf(a, clientNamespace) - strengthOf(b, clientNamespace);
  return difference === 0 ? a.key < b.key : difference < 0;
}

/**
 * Whether this is a Kubernetes Service and not a name for a destination outside of the cluster. Other control planes let a namespace give
 * such a host name, even that of another namespace's Service, to something that is not a Service; hence the comparison with the namespace.
 * A Service with a scope is valid in one namespace only and takes no address from others.
 */
const isOfCluster = ({ hostname, namespace, scope }: Service): boolean =>
  scope === undefined && hostname.endsWith(`.${namespace}.svc.cluster.local`);

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
