import { isAudit, isStrict } from '../../src/model/object-settings.js';
import { exportLabel } from '../../src/model/ownership.js';
import { labelsOf, namespaceOf } from '../../src/model/labels.js';
import { isEnrolling } from '../compile/first-enrollment.js';
import { strictPolicy } from '../compile/policies.js';
import { enrolledCondition, type Condition, type NamespaceObject } from '../objects/objects.js';
import type { Kind } from './kind.js';
import { recompilePodsBehind } from './targets.js';
import { withVersion, type Raw } from './metadata.js';

export const namespaceKind: Kind<NamespaceObject> = {
  address: { group: '', versions: ['v1'], plural: 'namespaces', clusterWide: true },
  schema: 'core',
  pickFields(raw) {
    const { metadata, status } = raw as Raw<NamespaceObject>;
    const conditions = (status?.conditions ?? []).filter(({ type }: Condition) => type === enrolledCondition);
    return {
      kind: 'Namespace',
      metadata: withVersion(metadata),
      ...(conditions.length > 0 ? { status: { conditions } } : {}),
    };
  },
  dependents({ before, now, name }, registry, recompile) {
    const { indexes } = registry;
    // The strict mode of the mesh waits for the first enrollment of all namespaces.
    recompile.objects(indexes.MeshSettings.all());
    recompile.objects(indexes.Pod.in(name));
    recompile.objects(indexes.Workload.in(name));
    recompile.objects(indexes.Service.in(name));
    // Its labels may name a waypoint.
    recompile.objects(indexes.ServiceEntry.in(name));
    recompile.objects(indexes.ExternalService.in(name));
    if (isAudit(labelsOf(before)) !== isAudit(labelsOf(now))) {
      recompile.objects(indexes.AccessPolicy.in(name));
      recompile.objects(indexes.AuthorizationPolicy.in(name));
      recompile.objects(indexes.PeerAuthentication.in(name));
      recompile.objects(indexes.RequestAuthentication.in(name));
      // They have no index by namespace, and the label rarely changes.
      for (const kind of ['TrafficTarget', 'HTTPRoute', 'GRPCRoute'] as const)
        recompile.objects([...registry.ofKind(kind)].filter((one) => namespaceOf(one) === name));
      // Policies of a Gateway are compiled with the Services that it serves, which may be those of other namespaces.
      for (const { metadata } of indexes.Gateway.in(name)) {
        const waypoint = { namespace: name, name: metadata.name };
        recompile.servicesThrough(waypoint);
        if (registry.hasAuthentication) recompilePodsBehind(waypoint, registry, recompile);
      }
    }
    if (labelsOf(before)[exportLabel] === labelsOf(now)[exportLabel]) return;
    for (const one of indexes.ExternalService.in(name)) recompile.claimsOf(one);
    for (const one of indexes.Workload.in(name)) recompile.claimsOf(one);
    for (const one of indexes.ServiceEntry.in(name)) recompile.claimsOf(one);
    recompile.objects(indexes.WorkloadEntry.in(name));
  },
  compile(object, { settings }) {
    if (settings.removal !== undefined || !isStrict(labelsOf(object)) || isEnrolling(object))
      return { resources: [] };
    return {
      resources: [{ kind: 'policy', value: strictPolicy(object.metadata.name, 'namespace', 'namespace') }],
    };
  },
};
