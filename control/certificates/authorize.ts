/**
 * Authorizes certificate requests: an agent may request the identities of its node's pods, a waypoint and the rate limit service their own
 * identity.
 */
import { spiffeIdOf, type TrustDomain } from '../../src/model/identity.js';
import { isRateLimiter, mayHave } from '../compile/rate-limiter.js';
import { waypointOfCaller, type WaypointName } from '../compile/waypoints.js';
import type { Placement } from '../kinds/kind.js';
import type { ObjectKey } from '../objects/object-key.js';

/** Index of the identities that run on each node. Sole owner of this index. */
export class NodeIdentities {
  /** Node → identity → number of pods that have it there. */
  readonly #nodes = new Map<string, Map<string, number>>();
  readonly #placements = new Map<ObjectKey, Placement>();

  /** Whether some pod with this identity runs on the node. */
  has(node: string, identity: string): boolean {
    return (this.#nodes.get(node)?.get(identity) ?? 0) > 0;
  }

  /** Replaces the placement of an object's identity; undefined: it runs nowhere. */
  set(key: ObjectKey, placement: Placement | undefined): void {
    const before = this.#placements.get(key);
    if (before?.node === placement?.node && before?.identity === placement?.identity) return;
    if (before) this.#remove(before);
    if (!placement) return void this.#placements.delete(key);
    this.#placements.set(key, { node: placement.node, identity: placement.identity });
    let counts = this.#nodes.get(placement.node);
    if (!counts) this.#nodes.set(placement.node, (counts = new Map()));
    counts.set(placement.identity, (counts.get(placement.identity) ?? 0) + 1);
  }

  #remove({ node, identity }: Placement): void {
    const counts = this.#nodes.get(node);
    if (!counts) return;
    const left = (counts.get(identity) ?? 0) - 1;
    if (left > 0) counts.set(identity, left);
    else counts.delete(identity);
    if (counts.size === 0) this.#nodes.delete(node);
  }
}

export interface CertificateLookup {
  readonly trustDomain: TrustDomain;
  readonly rootNamespace: string;
  readonly identities: NodeIdentities;
  /** Whether a Gateway of this name and of Weft's class exists. */
  readonly isWaypoint: (name: WaypointName) => boolean;
}

/**
 * Whether a caller may have a certificate for an identity.
 * @param caller the authenticated name: a node's, `waypoint:<namespace>/<name>`, or the rate limit service's
 */
export function mayRequestCertificate(caller: string, identity: string, lookup: CertificateLookup): boolean {
  if (isRateLimiter(caller)) return mayHave(identity, lookup.trustDomain, lookup.rootNamespace);
  const waypoint = waypointOfCaller(caller);
  if (!waypoint) return lookup.identities.has(caller, identity);
  const { namespace, name: serviceAccount } = waypoint;
  const { trustDomain } = lookup;
  return lookup.isWaypoint(waypoint) && identity === spiffeIdOf({ trustDomain, namespace, serviceAccount });
}
