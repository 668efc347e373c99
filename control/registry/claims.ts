/**
 * An index of the addresses and host names that objects of the registry claim, and of the claims that lose by the rule of
 * src/model/ownership.ts. It is updated with each change.
 */
import { isIp, parseIp } from '../../src/model/address.js';
import { claimRanks, compareClaims, type Claim, type ClaimRank } from '../../src/model/ownership.js';
import type { ObjectKey } from '../objects/object-key.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { MeshObject, WorkloadObject } from '../objects/objects.js';

/** Reason and message of the condition `Accepted=False` of an object that is not in force as it is written. */
export interface Problem {
  readonly reason: 'AddressConflict' | 'HostConflict' | 'NodeNotAllowed';
  readonly message: string;
}

/** What else decides whether a claim counts, and for whom. */
export interface ClaimLookup {
  /** Addresses and host names in an object's fields; undefined for kinds that claim nothing. */
  readonly claimsOf: (object: MeshObject) => Claims | undefined;
  /** Whether ExternalServices and Workloads of the namespace count for everybody. */
  readonly isExported: (namespace: string) => boolean;
  /** Whether the node that a Workload names accepts it. A Workload that is not accepted claims nothing. */
  readonly isAccepted: (workload: WorkloadObject) => boolean;
}

type Claimed = string;
const addressClaim = (ip: string): Claimed => parseIp(ip);
/** The space keeps host names and addresses apart: no address has one. */
export const hostClaim = (host: string): Claimed => `host ${host}`;

interface Claimant {
  readonly key: ObjectKey;
  readonly claim: Claim;
  readonly object: MeshObject;
}
/** The strongest claims to one address or host name. A claim that counts in one namespace alone contests nothing elsewhere. */
interface Leaders {
  /** Of Nodes, Pods and Services. */
  readonly strong: Claimant | undefined;
  readonly byNamespace: ReadonlyMap<string, Claimant>;
  /** Of ExternalServices and Workloads that count for everybody. */
  readonly exported: Claimant | undefined;
}
/** What an object claims, and how strongly. */
export interface Claims {
  readonly rank: ClaimRank;
  readonly claimed: readonly Claimed[];
}

/** Claims to addresses, in any form of each. What is no address claims nothing. */
export const addressClaims = (texts: readonly string[]): readonly Claimed[] =>
  texts.filter(isIp).map(addressClaim);

/** Kinds whose compiled form depends on who owns what they claim. Nodes and Pods always own it. */
const canLose = ({ object }: Claimant): boolean =>
  object.kind === 'Service' || object.kind === 'Workload' || object.kind === 'ExternalService';

const firstOf = (a: Claimant | undefined, b: Claimant | undefined): Claimant | undefined =>
  !a ? b : !b || compareClaims(a.claim, b.claim) <= 0 ? a : b;

/** Sole owner of the claims. */
export class ClaimIndex {
  readonly #claimants = new Map<Claimed, Map<ObjectKey, Claimant>>();
  /**
   * A cache: one namespace may have any number of claimants to one address. A change costs one pass over the claimants, a compiled object
   * none.
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
      const there = this.#claimants.get(claimed);
      there?.delete(key);
      if (there?.size === 0) this.#claimants.delete(claimed);
    }
    if (now && own) {
      const claim: Claim = {
        rank: own.rank,
        createdMs: Date.parse(now.metadata.creationTimestamp ?? '') || 0,
        namespace: now.kind === 'Node' ? '' : namespaceOf(now),
        name: now.metadata.name,
      };
      for (const claimed of own.claimed) {
        let there = this.#claimants.get(claimed);
        if (!there) this.#claimants.set(claimed, (there = new Map()));
        there.set(key, { key, claim, object: now });
      }
    }
    for (const claimed of [...(old?.claimed ?? []), ...(own?.claimed ?? [])]) this.#contested.add(claimed);
  }

  /** After a change of whether an object's claims count, or for whom. */
  reconsider(key: ObjectKey, object: MeshObject): void {
    this.#reconsidered.add(key);
    for (const claimed of this.lookup.claimsOf(object)?.claimed ?? []) this.#contested.add(claimed);
  }

  /** After a change that may affect every claim. The caller compiles every object again. */
  reconsiderAll(): void {
    this.#leaders.clear();
  }

  /** Objects whose claims were won, lost or reconsidered since the last call. */
  takeContested(): readonly MeshObject[] {
    const found = new Set<MeshObject>();
    for (const claimed of this.#contested) {
      const before = this.#leaders.get(claimed);
      this.#leaders.delete(claimed);
      const there = this.#claimants.get(claimed);
      if (!there) continue;
      const now = this.#leadersOf(claimed, there);
      for (const claimant of there.values()) {
        if (!canLose(claimant)) continue;
        const isSame =
          before && this.#leaderFor(before, claimant)?.key === this.#leaderFor(now, claimant)?.key;
        if (!isSame || this.#reconsidered.has(claimant.key)) found.add(claimant.object);
      }
    }
    this.#contested = new Set();
    this.#reconsidered = new Set();
    return [...found];
  }

  /** The owner of the address, in words for the object's author; undefined where the object owns it. */
  addressLostTo(key: ObjectKey, ip: string): string | undefined {
    return this.#lostTo(key, addressClaim(ip));
  }
  hostLostTo(key: ObjectKey, host: string): string | undefined {
    return this.#lostTo(key, hostClaim(host));
  }

  #lostTo(key: ObjectKey, claimed: Claimed): string | undefined {
    const there = this.#claimants.get(claimed);
    const own = there?.get(key);
    if (!there || there.size < 2 || !own) return undefined;
    const leader = this.#leaderFor(this.#leadersOf(claimed, there), own);
    if (!leader || leader.key === key || compareClaims(leader.claim, own.claim) > 0) return undefined;
    const { kind, metadata } = leader.object;
    // The author may not learn the names of other namespaces' objects.
    return kind !== 'Node' && leader.claim.namespace === own.claim.namespace
      ? `${kind} ${own.claim.namespace}/${metadata.name}`
      : `${kind === 'ExternalService' ? 'an' : 'a'} ${kind}`;
  }

  /** The strongest of the claims that contest a claimant's, its own included. */
  #leaderFor(
    { strong, byNamespace, exported }: Leaders,
    { claim: { namespace } }: Claimant,
  ): Claimant | undefined {
    const near = firstOf(strong, byNamespace.get(namespace));
    return this.lookup.isExported(namespace) ? firstOf(near, exported) : near;
  }

  #leadersOf(claimed: Claimed, there: ReadonlyMap<ObjectKey, Claimant>): Leaders {
    const known = this.#leaders.get(claimed);
    if (known) return known;
    let [strong, exported]: (Claimant | undefined)[] = [];
    const byNamespace = new Map<string, Claimant>();
    for (const claimant of there.values()) {
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
