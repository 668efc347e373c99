/** Finds what must be recompiled when objects change. Each kind names its dependents (control/kinds). Pure. */
import type { WaypointName } from './compile/waypoints.js';
import type { Labels } from '../src/model/labels.js';
import type { Recompile } from './kinds/kind.js';
import { kinds } from './kinds/kinds.js';
import { rulesNaming } from './dialects/istio/destination-rule/in-force.js';
import { selectedBy } from './kinds/selectors.js';
import { objectKey, type ObjectKey } from './objects/object-key.js';
import type { MeshObject, ServedObject } from './objects/objects.js';
import type { ObjectChange, Registry } from './registry/registry.js';

export interface Affected {
  /** Whether every object of the registry must be recompiled. `objects` has no meaning then. */
  readonly everything: boolean;
  /** Objects to recompile, including the changed ones, without the deleted ones. */
  readonly objects: Map<ObjectKey, MeshObject>;
  /** Objects to recompile, now or in later turns. Some may be in `objects`. */
  readonly later: ReadonlyMap<ObjectKey, MeshObject>;
  /** Objects whose claims may count in other namespaces than before. The claim index finds the objects whose compiled form changes. */
  readonly claims: ReadonlySet<MeshObject>;
}

/** @param registry after the changes */
export function affectedBy(changes: readonly ObjectChange[], registry: Registry): Affected {
  let everything = false;
  const objects = new Map<ObjectKey, MeshObject>();
  const later = new Map<ObjectKey, MeshObject>();
  const claims = new Set<MeshObject>();
  /** By namespace. */
  const selectors = new Map<string, Set<Labels>>();
  /** `<namespace>/<name>` */
  const waypoints = new Set<string>();
  const done = new Set<string>();
  const recompile: Recompile = {
    objects: (dependents) => {
      for (const object of dependents) objects.set(objectKey(object), object);
    },
    later: (dependents) => {
      for (const object of dependents) later.set(objectKey(object), object);
    },
    everything: () => (everything = true),
    selected: (namespace, selector) => {
      if (!selector) return;
      const of = selectors.get(namespace);
      if (of) of.add(selector);
      else selectors.set(namespace, new Set([selector]));
    },
    servicesThrough: (waypoint) => waypoints.add(nameOf(waypoint)),
    once(key) {
      if (done.has(key)) return false;
      done.add(key);
      return true;
    },
    claimsOf: (object) => claims.add(object),
  };
  for (const change of changes) {
    if (change.now) objects.set(change.key, change.now);
    kinds[change.kind].dependents?.(change, registry, recompile);
  }
  // One pass over the Services and the names outside of the cluster, regardless of how many Gateways have changed.
  if (waypoints.size > 0) recompile.objects(servicesThrough(waypoints, registry));
  recompile.objects(selectedBy(selectors, registry));
  // The status of a rule says what of it is in force for its Service.
  if (registry.hasDestinationRules)
    for (const object of [...objects.values()])
      if (object.kind === 'Service') recompile.objects(rulesNaming(object, registry));
  return { everything, objects, later, claims };
}

const nameOf = ({ namespace, name }: WaypointName): string => `${namespace}/${name}`;

function* servicesThrough(waypoints: ReadonlySet<string>, registry: Registry): Iterable<ServedObject> {
  const { Service, ServiceEntry, ExternalService } = registry.indexes;
  for (const index of [Service, ServiceEntry, ExternalService])
    for (const object of index.all()) {
      const waypoint = registry.waypointOf(object);
      if (waypoint && waypoints.has(nameOf(waypoint))) yield object;
    }
}
