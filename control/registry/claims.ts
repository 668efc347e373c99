/**
 * An index of the addresses and host names that objects of the registry claim, and of the owner of each by the rule of
 * src/model/ownership.ts. It is updated with each change.
 */
import { isIp, parseIp } from '../../src/model/address.js';
import { claimRanks, compareClaims, type Claim, type ClaimRank } from '../../src/model/ownership.js';
import type { ObjectKey } from '../objects/object-key.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { MeshObject, WorkloadObject } from '../objects/objects.js';
import { createdMs } from '../objects/age.js';

/** Reason and message of the condition `Accepted=False` of an object that is not in force as written. */
export interface Problem {
  readonly reason: string;
  readonly message: string;
}

/** Lookups that decide whether a claim counts, and in which namespaces. */
export interface ClaimLookup {
  /** Addresses and host names in an object's fields; undefined for kinds that claim nothing. */
  readonly claimsOf: (object: MeshObject) => Claims | undefined;
  /** Whether ExternalServices and Workloads of the namespace count in all namespaces. */
  readonly isExported: (namespace: string) => boolean;
  /** Whether the node that a Workload names accepts it. A Workload that is not accepted claims nothing. */
  readonly isAccepted: (workload: WorkloadObject) => boolean;
}

type Claimed = string;
const addressClaim = (ip: string): Claimed => parseIp(ip);
/** The space keeps host names apart from addresses, which never contain one. */
export const hostClaim = (host: string): Claimed => `host ${host}`;

interface Claimant {
  readonly key: ObjectKey;
  readonly claim: Claim;
  readonly object: MeshObject;
}
/** The strongest claims to one address or host name. A claim that counts in only one namespace contests no claim of other namespaces. */
interface Leaders {
  /** The strongest claim of Nodes, Pods and Services. */
  readonly strong: Claimant | undefined;
  /** The strongest claim of each namespace's ExternalServices, ServiceEntries and Workloads. */
  readonly byNamespace: ReadonlyMap<string, Claimant>;
  /** The strongest claim of ExternalServices, ServiceEntries and Workloads that count in all namespaces. */
  readonly exported: Claimant | undefined;
}
/** The addresses and host names that an object claims, and the rank of its claims. */
export interface Claims {
  readonly rank: ClaimRank;
  readonly claimed: readonly Claimed[];
}

/** Claims to addresses, which may be in any textual form. Texts that are not addresses are ignored. */
export const addressClaims = (texts: readonly string[]): readonly Claimed[] =>
  texts.filter(isIp).map(addressClaim);

/** Whether the compiled form of the object depends on the owner of its claims. Nodes and Pods always own theirs. */
const canLose = ({ object }: Claimant): boolean => losing.has(object.kind);
const losing: ReadonlySet<string> = new Set(['Service', 'Workload', 'ExternalService', 'ServiceEntry']);

const firstOf = (a: Claimant | undefined, b: Claimant | undefined): Claimant | undefined =>
  !a ? b : !b || compareClaims(a.claim, b.claim) <= 0 ? a : b;

/** Sole owner of the claims. */
export class ClaimIndex {
  readonly #claimants = new Map<Claimed, Map<ObjectKey, Claimant>>();
  /**
   * A cache: one address may have any number of claimants. A change costs one pass over them, and compiling an object none.
   */
  readonly #leaders = new Map<Claimed, Leaders>();
  #contested = new Set<Claimed>();
  #reconsidered = new Set<ObjectKey>();

  constructor(private readonly lookup: ClaimLookup) {}

  /** Replaces an object's claims. `before` is undefined for a new object, `now` for a deleted one. */
  set(key: ObjectKey, before: MeshObject | undefined, now: MeshObject | undefined): void {
    const { claimsOf } = this.lookup;
    const [old, own] = [before && claimsOf(before), now && claimsOf(now)];
    for (const claimed of old?.claimed ?? []) {
      const claimants = this.#claimants.get(claimed);
      claimants?.delete(key);
      if (claimants?.size === 0) this.#claimants.delete(claimed);
    }
    if (now && own) {
      const claim: Claim = {
        rank: own.rank,
        createdMs: createdMs(now),
        namespace: now.kind === 'Node' ? '' : namespaceOf(now),
        name: now.metadata.name,
      };
      for (const claimed of own.claimed) {
        let claimants = this.#claimants.get(claimed);
        if (!claimants) this.#claimants.set(claimed, (claimants = new Map()));
        claimants.set(key, { key, claim, object: now });
      }
    }
    for (const claimed of [...(old?.claimed ?? []), ...(own?.claimed ?? [])]) this.#contested.add(claimed);
  }

  /** To be called when it may have changed whether, or in which namespaces, an object's claims count. */
  reconsider(key: ObjectKey, object: MeshObject): void {
    this.#reconsidered.add(key);
    for (const claimed of this.lookup.claimsOf(object)?.claimed ?? []) this.#contested.add(claimed);
  }

  /** To be called after a change that may affect every claim. The caller recompiles every object. */
  reconsiderAll(): void {
    this.#leaders.clear();
  }

  /** Objects whose claims were won, lost or reconsidered since the last call. */
  takeContested(): readonly MeshObject[] {
    const contested = new Set<MeshObject>();
    for (const claimed of this.#contested) {
      const before = this.#leaders.get(claimed);
      this.#leaders.delete(claimed);
      const claimants = this.#claimants.get(claimed);
      if (!claimants) continue;
      const now = this.#leadersOf(claimed, claimants);
      for (const claimant of claimants.values()) {
        if (!canLose(claimant)) continue;
        const isSame =
          before && this.#leaderFor(before, claimant)?.key === this.#leaderFor(now, claimant)?.key;
        if (!isSame || this.#reconsidered.has(claimant.key)) contested.add(claimant.object);
      }
    }
    this.#contested = new Set();
    this.#reconsidered = new Set();
    return [...contested];
  }

  /** A description of the address's owner for the object's author; undefined if the object itself owns it. */
  addressLostTo(key: ObjectKey, ip: string): string | undefined {
    return this.#lostTo(key, addressClaim(ip));
  }
  /** The problem of an object of whose addresses some belong to others. @param left what of the object is in force: `nothing` */
  addressProblem(key: ObjectKey, ips: readonly string[], left: string): Problem | undefined {
    const lost = ips.flatMap((ip) => {
      const owner = this.addressLostTo(key, ip);
      return owner === undefined ? [] : [`address ${ip} belongs to ${owner}`];
    });
    if (lost.length === 0) return undefined;
    return { reason: 'AddressConflict', message: `${lost.join(', ')}; ${left} of this object is in force` };
  }
  hostLostTo(key: ObjectKey, host: string): string | undefined {
    return this.#lostTo(key, hostClaim(host));
  }

  /** Whether a Node, a Pod or a Service has the address. */
  isOwned(ip: string): boolean {
    const claimed = addressClaim(ip);
    const claimants = this.#claimants.get(claimed);
    return claimants !== undefined && this.#leadersOf(claimed, claimants).strong !== undefined;
  }

  /** Whether an object claims the address with effect for clients of the namespace, by a field of its own. */
  isTaken(namespace: string, ip: string): boolean {
    const claimed = addressClaim(ip);
    const claimants = this.#claimants.get(claimed);
    if (!claimants) return false;
    const { strong, byNamespace } = this.#leadersOf(claimed, claimants);
    return strong !== undefined || byNamespace.has(namespace);
  }

  #lostTo(key: ObjectKey, claimed: Claimed): string | undefined {
    const claimants = this.#claimants.get(claimed);
    const own = claimants?.get(key);
    if (!claimants || claimants.size < 2 || !own) return undefined;
    const leader = this.#leaderFor(this.#leadersOf(claimed, claimants), own);
    if (!leader || leader.key === key || compareClaims(leader.claim, own.claim) > 0) return undefined;
    const { kind, metadata } = leader.object;
    // Names of objects in other namespaces must not be disclosed to the author.
    return kind !== 'Node' && leader.claim.namespace === own.claim.namespace
      ? `${kind} ${own.claim.namespace}/${metadata.name}`
      : `${/^[AEIO]/.test(kind) ? 'an' : 'a'} ${kind}`;
  }

  /** The strongest of the claims that compete with a claimant's, its own included. */
  #leaderFor(
    { strong, byNamespace, exported }: Leaders,
    { claim: { namespace } }: Claimant,
  ): Claimant | undefined {
    const near = firstOf(strong, byNamespace.get(namespace));
    return this.lookup.isExported(namespace) ? firstOf(near, exported) : near;
  }

  #leadersOf(claimed: Claimed, claimants: ReadonlyMap<ObjectKey, Claimant>): Leaders {
    const known = this.#leaders.get(claimed);
    if (known) return known;
    let [strong, exported]: (Claimant | undefined)[] = [];
    const byNamespace = new Map<string, Claimant>();
    for (const claimant of claimants.values()) {
      const { object, claim } = claimant;
      if (object.kind === 'Workload' && !this.lookup.isAccepted(object)) continue;
      if (claim.rank <= claimRanks.service) {
        strong = firstOf(strong, claimant);
        continue;
      }
      const first = firstOf(byNamespace.get(claim.namespace), claimant);
      if (first) byNamespace.set(claim.namespace, first);
      if (this.lookup.isExported(claim.namespace)) exported = firstOf(exported, claimant);
    }
    const leaders = { strong, byNamespace, exported };
    this.#leaders.set(claimed, leaders);
    return leaders;
  }
}
