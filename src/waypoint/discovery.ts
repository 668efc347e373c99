import type { Subscription } from '../discovery/client.js';
import { typeUrls } from '../discovery/types.js';
import type { Route } from '../model/route.js';
import type { MeshUpdate } from '../state/store.js';
import type { WaypointUpdate } from './state/waypoint-state.js';
import { decodeTrust } from '../discovery/codec/node-pod.js';
import { readAddress } from '../discovery/codec/address.js';
import { readAuthorization } from '../discovery/codec/policy.js';
import { readRoute } from '../discovery/codec/route.js';
import { keepOr, subscribe } from '../discovery/subscription.js';

type PendingMesh = { -readonly [K in keyof Required<MeshUpdate>]: NonNullable<MeshUpdate[K]>[number][] };

const emptyMesh = (): PendingMesh => ({
  workloads: [],
  services: [],
  removed: [],
  policies: [],
  removedPolicies: [],
});

/** The resources of one message of the control plane, until they are taken as one update. */
export class PendingUpdate {
  #mesh = emptyMesh();
  #routes: Route[] = [];
  #removedRoutes: string[] = [];

  /**
   * @param rootNamespace whose policies are the mesh's
   * @param onTrustChange the mesh's root certificates are others now
   */
  subscriptions(rootNamespace: string, onTrustChange: () => void): Subscription[] {
    let trust: string | undefined;
    return [
      subscribe(
        typeUrls.address,
        readAddress,
        (one) =>
          one.kind === 'workload'
            ? this.#mesh.workloads.push(one.workload)
            : this.#mesh.services.push(one.service),
        (names) => void this.#mesh.removed.push(...names),
      ),
      subscribe(
        typeUrls.authorization,
        (name, bytes) => readAuthorization(name, bytes, rootNamespace),
        (policy) => this.#mesh.policies.push(policy),
        (names) => void this.#mesh.removedPolicies.push(...names),
      ),
      subscribe(
        typeUrls.route,
        readRoute,
        (route) => this.#routes.push(route),
        (names) => void this.#removedRoutes.push(...names),
      ),
      subscribe(
        typeUrls.trust,
        keepOr(decodeTrust),
        (version) => {
          if (trust !== undefined && trust !== version) onTrustChange();
          trust = version;
        },
        () => undefined,
      ),
    ];
  }

  /** What came since the last call; undefined where nothing did. */
  take(): WaypointUpdate | undefined {
    const hasMesh = Object.values(this.#mesh).some((list) => list.length > 0);
    const update = {
      ...(hasMesh ? { mesh: this.#mesh } : {}),
      ...(this.#routes.length > 0 ? { routes: this.#routes } : {}),
      ...(this.#removedRoutes.length > 0 ? { removedRoutes: this.#removedRoutes } : {}),
    };
    this.#mesh = emptyMesh();
    this.#routes = [];
    this.#removedRoutes = [];
    return Object.keys(update).length === 0 ? undefined : update;
  }
}
