/**
 * The policies of endpoints, each with the requests that they allowed. They are indexed by workload and Service, so that a mesh update visits
 * only those that it affects, however many endpoints and requests there are.
 */
import type { SocketAddress } from '../../model/address.js';
import { claimRankOf, claimRanks } from '../../model/ownership.js';
import type { AuthorizationPolicy } from '../../model/policy.js';
import type { ServiceKey, WorkloadUid } from '../../model/workload.js';
import { IntrusiveSet } from '../exchange/intrusive-set.js';
import type { ChangeImpact } from '../state/change-impact.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { ServicePort } from './reachable.js';

/** Policies that are evaluated together: any matching DENY denies; if there are ALLOW policies, one of them has to match. */
export interface PolicyGroup {
  /** The namespace of the workload or Service that the policies protect. */
  readonly namespace: string;
  readonly policies: readonly AuthorizationPolicy[];
  /** Whether rules that may be for `destination` or `others` compare TLS server names. */
  readonly comparesServerNames: boolean;
  /** The address and port that the group's policies are written for. */
  readonly destination: SocketAddress;
  /** DENY policies that name an address or a port. They are also evaluated with `others`. */
  readonly named: readonly AuthorizationPolicy[];
  /** The destination's other addresses and ports. */
  readonly others: readonly SocketAddress[];
}

/** Authorized again after each mesh update that affects it. */
export interface Rechecked {
  /** Ends the connection, request or mirror if it is no longer allowed. */
  recheck(): void;
}

/** A live request, mirror or relayed connection whose authorization depends on the policies of an endpoint. */
export interface PolicyUse {
  /** Its index in `EndpointPolicies.uses` (IntrusiveSet). */
  slot: number;
  readonly owner: Rechecked;
}

/** The policies of one endpoint for requests sent to one Service port, and the requests and connections that they allowed. */
export interface EndpointPolicies {
  readonly endpoint: Endpoint;
  readonly sent: ServicePort | undefined;
  /** Undefined: a mesh update affects them; they are derived again at the next use. */
  groups: readonly PolicyGroup[] | undefined;
  readonly uses: IntrusiveSet<PolicyUse>;
}

/** All `EndpointPolicies` of a worker. */
export class EndpointPolicyCache {
  readonly #all = new Map<Endpoint, EndpointPolicies[]>();
  readonly #byWorkload = new Map<WorkloadUid, EndpointPolicies[]>();
  readonly #byService = new Map<ServiceKey, Set<EndpointPolicies>>();
  /**
   * Those that may depend on several workloads: the endpoint is no pod, so that another workload may own its address, or it is behind a
   * waypoint. Also those in use of pods that are gone: a change does not lead to these by the state.
   */
  readonly #ofSeveralPods = new Set<EndpointPolicies>();

  /** The policies of an endpoint; added if they are not there yet. */
  at(endpoint: Endpoint, sent: ServicePort | undefined): EndpointPolicies {
    const list = this.#all.get(endpoint);
    if (list)
      for (const known of list)
        if (known.sent?.service === sent?.service && known.sent?.port === sent?.port) return known;
    return this.#add({ endpoint, sent, groups: undefined, uses: new IntrusiveSet() });
  }

  #add(one: EndpointPolicies): EndpointPolicies {
    const { endpoint, sent } = one;
    const { uid } = endpoint.workload;
    push(this.#all, endpoint, one);
    push(this.#byWorkload, uid, one);
    if (endpoint.via || claimRankOf(uid) !== claimRanks.pod) this.#ofSeveralPods.add(one);
    if (sent) {
      let all = this.#byService.get(sent.service);
      if (!all) this.#byService.set(sent.service, (all = new Set()));
      all.add(one);
    }
    return one;
  }

  /** Drops the groups that a mesh update affects. Returns those that are in use. */
  forget(impact: ChangeImpact): EndpointPolicies[] {
    const inUse: EndpointPolicies[] = [];
    for (const one of this.#candidates(impact)) {
      if (!impact.endpoint(one.endpoint, one.sent)) continue;
      one.groups = undefined;
      if (one.uses.size > 0) {
        inUse.push(one);
        if (impact.isGone(one.endpoint.workload.uid)) this.#ofSeveralPods.add(one);
      } else this.#delete(one);
    }
    return inUse;
  }

  /** A superset of what the update affects. */
  #candidates(impact: ChangeImpact): Iterable<EndpointPolicies> {
    if (impact.mayAffectAll) return [...this.#all.values()].flat();
    const candidates = new Set<EndpointPolicies>(this.#ofSeveralPods);
    for (const uid of impact.candidatePods)
      for (const one of this.#byWorkload.get(uid) ?? []) candidates.add(one);
    for (const key of impact.services())
      for (const one of this.#byService.get(key) ?? []) candidates.add(one);
    return candidates;
  }

  /** Drops the policies of an endpoint, except those in use. */
  forgetEndpoint(endpoint: Endpoint): void {
    for (const one of [...(this.#all.get(endpoint) ?? [])]) if (one.uses.size === 0) this.#delete(one);
  }

  #delete(one: EndpointPolicies): void {
    const { endpoint, sent } = one;
    remove(this.#all, endpoint, one);
    remove(this.#byWorkload, endpoint.workload.uid, one);
    this.#ofSeveralPods.delete(one);
    if (!sent) return;
    const all = this.#byService.get(sent.service);
    all?.delete(one);
    if (all?.size === 0) this.#byService.delete(sent.service);
  }
}

function push<K, T>(lists: Map<K, T[]>, key: K, one: T): void {
  const list = lists.get(key);
  if (list) list.push(one);
  else lists.set(key, [one]);
}

function remove<K, T>(lists: Map<K, T[]>, key: K, one: T): void {
  const list = lists.get(key);
  const at = list?.indexOf(one) ?? -1;
  if (!list || at < 0) return;
  list.splice(at, 1);
  if (list.length === 0) lists.delete(key);
}
