/**
 * TrafficTarget: clients by service account, and what they may ask of the pods of one service account. From the first TrafficTarget of a
 * service account on, its pods accept nothing that no TrafficTarget (or other policy that allows) names.
 */
import { labelsOf, namespaceOf, selects } from '../../../src/model/labels.js';
import type { CompileContext, Compiled } from '../../kinds/kind.js';
import type { Registry } from '../../registry/registry.js';
import { enforcedType, type MeshObject, type SmiObject } from '../../objects/objects.js';
import { condition, type ConditionUpdate } from '../../status/conditions.js';
import { dialectUpdate } from '../../status/dialect.js';
import { auditCondition } from '../../status/audit.js';
import type { MeshLookup, StatusLookup, StatusUpdate } from '../../status/status.js';
import { unenforcedBecause } from '../../status/waypoint-binding.js';
import { differs, nothing, usedFields, works, type FieldTable } from '../fields.js';
import { fieldRemarks, type Remark } from '../remarks.js';
import { compileTarget } from './access.js';
import { smiKind } from './smi-kind.js';
import { destinationOf, writtenFields } from './specs.js';

const rules: FieldTable = {
  'rules[].kind=UDPRoute': nothing('UDP is not carried; such a rule allows nothing'),
  'rules[].kind': works,
  'rules[].name': works,
  'rules[].matches': works,
};
const ofSpecs = Object.fromEntries(
  Object.entries(rules).map(([path, one]) => [path.replace('rules', 'specs'), one]),
);

export const trafficTargetFields: FieldTable = {
  'destination.kind': differs(
    'only ServiceAccount; with another kind the object is closed for its namespace',
  ),
  'destination.name': works,
  'destination.namespace': differs(
    "only the object's own namespace: with another one the object has no effect",
  ),
  'destination.port': differs('the port of the pods, not of their Services'),
  ...rules,
  ...ofSpecs,
  'sources[].kind': differs('only ServiceAccount; a source of another kind is nobody'),
  'sources[].name': works,
  'sources[].namespace': works,
  'sources[].port': nothing('a client has no port that could be known in advance'),
};

export const trafficTargetKind = smiKind(
  'TrafficTarget',
  { group: 'access.smi-spec.io', plural: 'traffictargets' },
  {
    dependents({ before, now, namespace }, registry, recompile) {
      const accounts = new Set(
        [before, now].flatMap((one) => (one ? (destinationOf(one).account ?? []) : [])),
      );
      if (accounts.size > 0) recompile.objects(podsOf(registry, namespace, accounts));
    },
    compile,
    status,
  },
);

function compile(object: SmiObject<'TrafficTarget'>, { settings, registry }: CompileContext): Compiled {
  // During an uninstall no policy is in force.
  if (settings.removal !== undefined) return { resources: [] };
  const { policy, problem } = compileTarget(object, {
    group: (namespace, name) => registry.indexes.HTTPRouteGroup.get(namespace, name),
    ports: (namespace, name) => registry.indexes.SmiTCPRoute.get(namespace, name),
  });
  return {
    resources: policy ? [{ kind: 'policy', value: policy }] : [],
    ...(problem ? { problem } : {}),
    remarks: object.invalid === undefined ? differencesOf(object) : [],
  };
}

/** The status of an object that does what it says names no exceptions. */
function differencesOf(object: SmiObject<'TrafficTarget'>): Remark[] {
  const { destination } = object.spec ?? object;
  const used = usedFields(writtenFields(object), trafficTargetFields).filter(({ entry, value }) => {
    if (entry === 'destination.kind') return destination?.kind !== 'ServiceAccount';
    if (entry === 'destination.namespace') return destination?.namespace !== namespaceOf(object);
    return entry !== 'sources[].kind' || value !== 'ServiceAccount';
  });
  return fieldRemarks(used);
}

/** Pods and Workloads of a namespace that have one of the service accounts. */
const podsOf = (
  { indexes }: Pick<Registry, 'indexes'>,
  namespace: string,
  accounts: ReadonlySet<string>,
): MeshObject[] => [
  ...indexes.Pod.in(namespace).filter(({ spec }) => accounts.has(spec.serviceAccountName ?? 'default')),
  ...indexes.Workload.in(namespace).filter(({ spec }) => accounts.has(spec.serviceAccount ?? 'default')),
];

function status(object: SmiObject<'TrafficTarget'>, lookup: StatusLookup): StatusUpdate | undefined {
  return dialectUpdate(
    object,
    lookup,
    targetEnforcement(object, lookup.mesh),
    auditCondition(object, lookup.mesh),
  );
}

const withoutWaypoint = '; without a waypoint, a rule of an HTTPRouteGroup allows nothing';

/**
 * Whether waypoints read the requests to the destination; undefined: no rule needs that. Pods that no Service selects are ignored: they have
 * no waypoint by design.
 */
export function targetEnforcement(
  object: SmiObject<'TrafficTarget'>,
  mesh: MeshLookup,
): ConditionUpdate | undefined {
  const { invalid, spec, specs } = object;
  if (invalid !== undefined || !(spec?.rules ?? specs ?? []).some(({ kind }) => kind === 'HTTPRouteGroup'))
    return undefined;
  const { namespace, account } = destinationOf(object);
  if (namespace !== namespaceOf(object)) return undefined;
  let isEnforced = false;
  for (const one of mesh.selectable(namespace)) {
    const { spec } = one as { readonly spec?: { serviceAccountName?: string; serviceAccount?: string } };
    if ((spec?.serviceAccountName ?? spec?.serviceAccount ?? 'default') !== account) continue;
    const problems = mesh
      .services(namespace)
      .filter((service) => selects(service.spec.selector, labelsOf(one)))
      .map((service) => unenforcedBecause(service, mesh));
    if (problems.includes(undefined)) isEnforced = true;
    const [problem] = problems;
    if (problem && !problems.includes(undefined))
      return condition(enforcedType, 'False', problem.reason, `${problem.message}${withoutWaypoint}`);
  }
  return isEnforced
    ? condition(enforcedType, 'True', 'Enforced', 'enforced at the waypoints of the destination')
    : condition(
        enforcedType,
        'False',
        'NoWaypoint',
        `no pod of the service account is behind a Service with a waypoint${withoutWaypoint}`,
      );
}
