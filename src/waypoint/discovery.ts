import type { Subscription } from '../discovery/client.js';
import { typeUrls } from '../discovery/types.js';
import type { Route } from '../model/route.js';
import type { ServicePolicy } from '../model/service-policy.js';
import type { MeshUpdate } from '../state/store.js';
import { filterProblem } from './filters/chain.js';
import type { WaypointUpdate } from './state/waypoint-state.js';
import { decodeTrust } from '../discovery/codec/node-pod.js';
import { readAddress } from '../discovery/codec/address.js';
import { readAuthorization } from '../discovery/codec/policy.js';
import type { ReadResult } from '../discovery/codec/decoding.js';
import { readRoute } from '../discovery/codec/route.js';
import { readServicePolicy } from '../discovery/codec/service-policy.js';
import { keepOr, subscribe } from '../discovery/subscription.js';

type PendingMesh = { -readonly [K in keyof Required<MeshUpdate>]: NonNullable<MeshUpdate[K]>[number][] };

const emptyMesh = (): PendingMesh => ({
  workloads: [],
  services: [],
  removed: [],
  policies: [],
  removedPolicies: [],
});

/** Reads a route. Filters that this waypoint cannot compile are problems: their rules respond with an error (routes/compile.ts). */
function readRouteWithFilters(name: string, bytes: Uint8Array): ReadResult<Route> {
  const { value, problems } = readRoute(name, bytes);
  const ofFilters = (value?.rules ?? []).map(filterProblem).filter((one) => one !== undefined);
  return { value, problems: [...problems, ...ofFilters] };
}

/** Collects the resources of one control plane message into one update. */
export class PendingUpdate {
  #mesh = emptyMesh();
  #routes: Route[] = [];
  #removedRoutes: string[] = [];
  #policies: ServicePolicy[] = [];
  #removedPolicies: string[] = [];

  /**
   * The subscriptions of a waypoint: addresses, policies, Services' settings, routes, trust. Changes of several types are sent in this order: a
   * route finds the Services that it leads to, with their settings.
   * @param rootNamespace the namespace whose policies apply to the whole mesh
   * @param onTrustChange called when the mesh's root certificates change
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
        typeUrls.servicePolicy,
        readServicePolicy,
        (policy) => this.#policies.push(policy),
        (names) => void this.#removedPolicies.push(...names),
      ),
      subscribe(
        typeUrls.route,
        readRouteWithFilters,
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

  /** The resources since the last call; undefined if there are none. */
  take(): WaypointUpdate | undefined {
    const hasMesh = Object.values(this.#mesh).some((list) => list.length > 0);
    const update = {
      ...(hasMesh ? { mesh: this.#mesh } : {}),
      ...(this.#routes.length > 0 ? { routes: this.#routes } : {}),
      ...(this.#removedRoutes.length > 0 ? { removedRoutes: this.#removedRoutes } : {}),
      ...(this.#policies.length > 0 ? { servicePolicies: this.#policies } : {}),
      ...(this.#removedPolicies.length > 0 ? { removedServicePolicies: this.#removedPolicies } : {}),
    };
    this.#mesh = emptyMesh();
    this.#routes = [];
    this.#removedRoutes = [];
    this.#policies = [];
    this.#removedPolicies = [];
    return Object.keys(update).length === 0 ? undefined : update;
  }
}
