/**
 * Decides who owns an address and for which clients a claim is valid, as described in docs/ARCHITECTURE.md, "Who owns what". The control
 * plane, agents, waypoints and the kernel's verdicts all use these rules. Pure.
 */
import type { ServiceKey, Workload, WorkloadUid } from './workload.js';

/** Strength of a claim to an address: the smaller number wins. A reference points to an address and never owns it. */
export const claimRanks = { node: 0, pod: 1, service: 2, workload: 3, reference: 4 } as const;
export type ClaimRank = (typeof claimRanks)[keyof typeof claimRanks];

/** One object's claim to an address or a host name. */
export interface Claim {
  readonly rank: ClaimRank;
  /** `metadata.creationTimestamp` in ms since the epoch; 0 if unknown (manifests in files). */
  readonly createdMs: number;
  /** Empty for cluster-scoped objects. */
  readonly namespace: string;
  readonly name: string;
}

/** Orders claims with the owner first: by rank, then age (the older first), then `namespace/name`. */
export function compareClaims(a: Claim, b: Claim): number {
  if (a.rank !== b.rank) return a.rank - b.rank;
  if (a.createdMs !== b.createdMs) return a.createdMs - b.createdMs;
  const [one, other] = [`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`];
  return one < other ? -1 : one > other ? 1 : 0;
}

/**
 * Whether Services of one namespace may front workloads of another: their waypoint and their policies then apply to these workloads. A
 * Service that may not front a workload but has its address as an endpoint only gives the address another name.
 */
export const mayStandBefore = (serviceNamespace: string, workloadNamespace: string): boolean =>
  serviceNamespace === workloadNamespace;

/** The namespace of a Service's key, `<namespace>/<hostname>`. */
export const namespaceOfKey = (key: ServiceKey): string => key.slice(0, key.indexOf('/'));

/**
 * The claim rank by the workload's discovery UID: `<cluster>//Pod/<namespace>/<name>` is a Pod, `<cluster>/<group>/Workload/...` and
 * `.../WorkloadEntry/...` are machines outside of Kubernetes. All others are references: EndpointSlices, endpoints of an ExternalService
 * or a ServiceEntry, and unknown kinds, which therefore take no address from anything.
 */
export function claimRankOf(uid: WorkloadUid): ClaimRank {
  // Fast path: most workloads are pods, and every connection calls this.
  if (uid.startsWith('/Pod/', uid.indexOf('/') + 1)) return claimRanks.pod;
  const [, group, kind] = uid.split('/', 3);
  if (kind === 'WorkloadEntry' || (group === 'weft.dev' && kind === 'Workload')) return claimRanks.workload;
  return claimRanks.reference;
}

/**
 * Whether a workload's claim to its address is valid for clients of a namespace that dial the address directly.
 * @param clientNamespace undefined: no particular namespace, so only claims that are valid for all clients count
 */
export function countsFor(
  workload: Pick<Workload, 'uid' | 'namespace' | 'scope'>,
  clientNamespace: string | undefined,
): boolean {
  switch (claimRankOf(workload.uid)) {
    case claimRanks.pod:
      return true;
    case claimRanks.workload:
      return workload.scope === undefined || workload.namespace === clientNamespace;
    default:
      return workload.namespace === clientNamespace;
  }
}

/** Label of a Namespace whose ExternalServices and Workloads are valid for clients of every namespace. */
export const exportLabel = 'weft.dev/export';
/** Annotation of a Node: comma-separated namespaces whose Workloads the Node accepts; `*`: all namespaces. */
export const workloadNamespacesAnnotation = 'weft.dev/workload-namespaces';
