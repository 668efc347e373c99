/**
 * Who owns an address, and whose claims count for whom: the one rule of docs/ARCHITECTURE.md, "Who owns what". Compile, agents,
 * waypoints and the kernel's verdicts decide by it. Pure.
 */
import type { ServiceKey, Workload, WorkloadUid } from './workload.js';

/** How strong a claim to an address is: the smaller number wins. A reference leads to an address and never owns it. */
export const claimRanks = { node: 0, pod: 1, service: 2, workload: 3, reference: 4 } as const;
export type ClaimRank = (typeof claimRanks)[keyof typeof claimRanks];

/** One object's claim to an address or a host name. */
export interface Claim {
  readonly rank: ClaimRank;
  /** `metadata.creationTimestamp` in ms since the epoch; 0 where nobody says (manifests in files). */
  readonly createdMs: number;
  /** Empty for what is in no namespace. */
  readonly namespace: string;
  readonly name: string;
}

/** Sorts the owner first: by rank, then age, then `namespace/name`. */
export function compareClaims(a: Claim, b: Claim): number {
  if (a.rank !== b.rank) return a.rank - b.rank;
  if (a.createdMs !== b.createdMs) return a.createdMs - b.createdMs;
  const [one, other] = [`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`];
  return one < other ? -1 : one > other ? 1 : 0;
}

/**
 * Whether Services of a namespace stand before workloads of another: put a waypoint in front of them or have their policies applied
 * to them. Whoever else names a workload's address as an endpoint has only given it another name.
 */
export const mayStandBefore = (serviceNamespace: string, workloadNamespace: string): boolean =>
  serviceNamespace === workloadNamespace;

/** The namespace of a Service's key, `<namespace>/<hostname>`. */
export const namespaceOfKey = (key: ServiceKey): string => key.slice(0, key.indexOf('/'));

/**
 * By the UID that discovery gives a workload: `<cluster>//Pod/<namespace>/<name>` is a Pod, `<cluster>/<group>/Workload/...` and
 * `.../WorkloadEntry/...` are machines of their own. Everything else is a reference: EndpointSlices, endpoints of an ExternalService
 * or a ServiceEntry, and kinds that this version does not know, which therefore take nothing from anybody.
 */
export function claimRankOf(uid: WorkloadUid): ClaimRank {
  // Most are pods, and every connection asks.
  if (uid.startsWith('/Pod/', uid.indexOf('/') + 1)) return claimRanks.pod;
  const [, group, kind] = uid.split('/', 3);
  if (kind === 'WorkloadEntry' || (group === 'weft.dev' && kind === 'Workload')) return claimRanks.workload;
  return claimRanks.reference;
}

/**
 * Whether a workload's claim to its address counts for clients of a namespace that dial the address itself.
 * @param clientNamespace undefined: of no namespace in particular, so only what counts for everybody
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

/** Label of a Namespace whose ExternalServices and Workloads count for clients of every namespace. */
export const exportLabel = 'weft.dev/export';
/** Annotation of a Node: namespaces, comma-separated, whose Workloads it takes; `*`: of all. */
export const workloadNamespacesAnnotation = 'weft.dev/workload-namespaces';
