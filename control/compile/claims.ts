/**
 * Which objects claim which addresses and host names, and whose claim loses: the rule of src/model/ownership.ts, applied to all objects
 * of the registry. Kept change by change.
 */
import { isIp, parseIp } from '../../src/model/address.js';
import { claimRanks, compareClaims, type Claim, type ClaimRank } from '../../src/model/ownership.js';
import type { ObjectKey } from './indexes.js';
import { namespaceOf } from './labels.js';
import type { ExternalServiceObject, MeshObject, WorkloadObject } from './objects.js';

/** Why an object is not in force as it is written: for its condition `Accepted`, which is then False. */
export interface Problem {
  readonly reason: 'AddressConflict' | 'HostConflict' | 'NodeNotAllowed';
  readonly message: string;
}

/** What the meaning of a claim depends on besides the claims. */
export interface ClaimLookup {
  /** Whether ExternalServices and Workloads of the namespace count for everybody. */
  readonly isExported: (namespace: string) => boolean;
  /** Whether the node that a Workload names takes it: one that is not taken claims nothing. */
  readonly isTaken: (workload: WorkloadObject) => boolean;
}

type Claimed = string;
const addressClaim = (ip: string): Claimed => parseIp(ip);
/** No address has a space. */
const hostClaim = (host: string): Claimed => `host ${host}`;

interface Claimant {
  readonly claim: Claim;
  readonly object: MeshObject;
}
interface Claims {
  readonly rank: ClaimRank;
  readonly claimed: readonly Claimed[];
}

/** `<name>.<namespace>.external` where the object names none. */
export const hostOf = (object: ExternalServiceObject): string =>
  object.spec.host ?? `${object.metadata.name}.${namespaceOf(object)}.external`;

const addresses = (texts: readonly string[]): readonly Claimed[] => texts.filter(isIp).map(addressClaim);

/** What an object claims by what is written in it; undefined for kinds that claim nothing. */
function claimsOf(object: MeshObject): Claims | undefined {
  switch (object.kind) {
    case 'Node':
      return {
        rank: claimRanks.node,
        claimed: addresses((object.status?.addresses ?? []).map(({ address }) => address)),
      };
    case 'Pod': {
      // One that has ended has given its addresses back.
      const { phase, podIPs = [] } = object.status ?? {};
      if (phase === 'Failed' || phase === 'Succeeded') return undefined;
      return { rank: claimRanks.pod, claimed: addresses(podIPs.map(({ ip }) => ip)) };
    }
    case 'Service': {
      const { clusterIPs, clusterIP } = object.spec;
      return { rank: claimRanks.service, claimed: addresses(clusterIPs ?? (clusterIP ? [clusterIP] : [])) };
    }
    case 'Workload':
      return { rank: claimRanks.workload, claimed: addresses(object.spec.addresses) };
    case 'ExternalService':
      return {
        rank: claimRanks.reference,
        claimed: [...addresses(object.spec.addresses), hostClaim(hostOf(object))],
      };
    default:
      return undefined;
  }
}

/** These are compiled by who has what they claim; the others have what they claim. */
const canLose = ({ object }: Claimant): boolean =>
  object.kind === 'Service' || object.kind === 'Workload' || object.kind === 'ExternalService';

/** Sole owner of who claims what. */
export class ClaimIndex {
  readonly #claimants = new Map<Claimed, Map<ObjectKey, Claimant>>();
  #contested = new Set<Claimed>();

  constructor(private readonly lookup: ClaimLookup) {}

  /** An object in place of what it was; undefined where it was not there, or is gone. */
  set(key: ObjectKey, before: MeshObject | undefined, now: MeshObject | undefined): void {
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
        there.set(key, { claim, object: now });
      }
    }
    // Most changes of an object leave alone what it claims.
    const isSame =
      before?.metadata.creationTimestamp === now?.metadata.creationTimestamp &&
      String(old?.claimed) === String(own?.claimed);
    if (!isSame)
      for (const claimed of [...(old?.claimed ?? []), ...(own?.claimed ?? [])]) this.#contested.add(claimed);
  }

  /** What an object claims has to be looked at again, since what its claims depend on has changed. */
  reconsider(object: MeshObject): void {
    for (const claimed of claimsOf(object)?.claimed ?? []) this.#contested.add(claimed);
  }

  /** Objects whose claims may since the last time have been lost, or won. */
  takeContested(): readonly MeshObject[] {
    const found = new Map<MeshObject, MeshObject>();
    for (const claimed of this.#contested) {
      for (const claimant of this.#claimants.get(claimed)?.values() ?? [])
        if (canLose(claimant)) found.set(claimant.object, claimant.object);
    }
    this.#contested = new Set();
    return [...found.values()];
  }

  /** Who has the address in place of the object, in words for the object's author; undefined where the object has it. */
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
    let first: Claimant | undefined;
    for (const other of there.values()) {
      if (other === own || !this.#isRival(own, other) || compareClaims(other.claim, own.claim) > 0) continue;
      if (!first || compareClaims(other.claim, first.claim) < 0) first = other;
    }
    if (!first) return undefined;
    const { kind, metadata } = first.object;
    // Names of other namespaces' objects are not this author's to learn.
    return namespaceOf(first.object) === own.claim.namespace && kind !== 'Node'
      ? `${kind} ${own.claim.namespace}/${metadata.name}`
      : `${kind === 'ExternalService' ? 'an' : 'a'} ${kind}`;
  }

  /** Whether two claims are about the same thing: what counts for one namespace alone contests nothing elsewhere. */
  #isRival(own: Claimant, other: Claimant): boolean {
    if (other.object.kind === 'Workload' && !this.lookup.isTaken(other.object)) return false;
    if (other.claim.rank <= claimRanks.service) return true;
    if (own.claim.namespace === other.claim.namespace) return true;
    return this.lookup.isExported(own.claim.namespace) && this.lookup.isExported(other.claim.namespace);
  }
}
