/** What must be compiled again when objects change: each kind names its dependents (control/kinds). Pure. */
import type { WaypointName } from './compile/waypoints.js';
import type { Recompile } from './kinds/kind.js';
import { kinds } from './kinds/kinds.js';
import { objectKey, type ObjectKey } from './objects/object-key.js';
import type { MeshObject, ServiceObject } from './objects/objects.js';
import type { ObjectChange, Registry } from './registry/registry.js';

export interface Affected {
  /** Every object of the registry; `objects` is of no meaning then. */
  readonly everything: boolean;
  /** Objects to compile again, the changed ones included; deleted ones are not. */
  readonly objects: Map<ObjectKey, MeshObject>;
  /** Objects whose claims may count otherwise than before. The claim index finds out whose compiled form changes by it. */
  readonly claims: ReadonlySet<MeshObject>;
}

/** @param registry after the changes */
export function affectedBy(changes: readonly ObjectChange[], registry: Registry): Affected {
  let everything = false;
  const objects = new Map<ObjectKey, MeshObject>();
  const claims = new Set<MeshObject>();
  /** `<namespace>/<name>` */
  const waypoints = new Set<string>();
  const recompile: Recompile = {
    objects: (dependents) => {
      for (const object of dependents) objects.set(objectKey(object), object);
    },
    everything: () => (everything = true),
    servicesThrough: (waypoint) => waypoints.add(nameOf(waypoint)),
    claimsOf: (object) => claims.add(object),
  };
  for (const change of changes) {
    if (change.now) objects.set(change.key, change.now);
    kinds[change.kind].dependents?.(change, registry, recompile);
  }
  // One pass over the Services, however many Gateways have changed.
  if (waypoints.size > 0) recompile.objects(servicesThrough(waypoints, registry));
  return { everything, objects, claims };
}

const nameOf = ({ namespace, name }: WaypointName): string => `${namespace}/${name}`;

function* servicesThrough(waypoints: ReadonlySet<string>, registry: Registry): Iterable<ServiceObject> {
  for (const service of registry.indexes.Service.all()) {
    const waypoint = registry.waypointOf(service);
    if (waypoint && waypoints.has(nameOf(waypoint))) yield service;
  }
}
