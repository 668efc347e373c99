/** TrafficSplit: the shares of a root Service's requests and connections that other Services of its namespace get. */
import { namespaceOf } from '../../../src/model/labels.js';
import type { CompileContext, Compiled } from '../../kinds/kind.js';
import type { SmiObject } from '../../objects/objects.js';
import { condition, type ConditionUpdate } from '../../status/conditions.js';
import { enforcedType } from '../../objects/objects.js';
import { dialectUpdate } from '../../status/dialect.js';
import type { MeshLookup, StatusLookup, StatusUpdate } from '../../status/status.js';
import { unenforcedBecause } from '../../status/waypoint-binding.js';
import { usedFields, works, type FieldTable } from '../fields.js';
import { fieldRemarks } from '../remarks.js';
import { inForceFor, mayConcern } from '../istio/virtual-service-hosts.js';
import { rootKey } from './index-keys.js';
import { smiKind } from './smi-kind.js';
import { rootOf, writtenFields } from './specs.js';
import { compileSplit, type SplitLookup } from './split.js';

export const trafficSplitFields: FieldTable = {
  service: works,
  'matches[].apiGroup': works,
  'matches[].kind': works,
  'matches[].name': works,
  'backends[].service': works,
  'backends[].weight': works,
};

export const trafficSplitKind = smiKind(
  'TrafficSplit',
  { group: 'split.smi-spec.io', plural: 'trafficsplits' },
  {
    dependents({ before, now, namespace }, registry, recompile) {
      // Of several objects without matches at one root the oldest is in force.
      for (const one of [before, now]) {
        const root = one && rootOf(one);
        if (root === undefined) continue;
        const key = rootKey(namespace, root);
        if (!recompile.once(`TrafficSplits ${key}`)) continue;
        recompile.objects(registry.trafficSplitsOf(key));
        // The VirtualService that the objects yield to names one.
        const service = registry.service(namespace, root);
        const winner = service && inForceFor(service, namespace, registry);
        if (winner) recompile.later([winner]);
      }
    },
    compile,
    status,
  },
);

function compile(object: SmiObject<'TrafficSplit'>, { registry }: CompileContext): Compiled {
  const lookup: SplitLookup = {
    service: (namespace, name) => registry.service(namespace, name),
    group: (namespace, name) => registry.indexes.HTTPRouteGroup.get(namespace, name),
    splits: (namespace, root) => registry.trafficSplitsOf(rootKey(namespace, root)),
    routes: (namespace, root) => registry.routesTo(namespace, namespace, root),
    virtualService: (service, port) => {
      const found = inForceFor(service, namespaceOf(service), registry);
      return found && mayConcern(found, port) ? found.metadata.name : undefined;
    },
  };
  const { routes, problem } = compileSplit(object, lookup);
  const used = object.invalid === undefined ? usedFields(writtenFields(object), trafficSplitFields) : [];
  return {
    resources: routes.map((value) => ({ kind: 'route', value })),
    ...(problem ? { problem } : {}),
    remarks: fieldRemarks(used),
  };
}

function status(object: SmiObject<'TrafficSplit'>, lookup: StatusLookup): StatusUpdate | undefined {
  return dialectUpdate(object, lookup, splitEnforcement(object, lookup.mesh));
}

/** Why no waypoint splits the requests to the root Service; undefined: one does, or there is no such Service. */
export function splitEnforcement(
  object: SmiObject<'TrafficSplit'>,
  mesh: MeshLookup,
): ConditionUpdate | undefined {
  const root = rootOf(object);
  const service = root === undefined ? undefined : mesh.service(namespaceOf(object), root);
  const problem = service && unenforcedBecause(service, mesh);
  return problem && condition(enforcedType, 'False', problem.reason, problem.message);
}
