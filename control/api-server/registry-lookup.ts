/** What TrafficMetrics need of the registry. */
import { namespaceOf } from '../../src/model/labels.js';
import { uncapturedBecause } from '../compile/enrollment.js';
import type { MetricsLookup } from '../dialects/smi/metric-resources.js';
import type { PodObject, ServiceObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';

const hasEnded = ({ status }: PodObject): boolean =>
  status?.phase === 'Failed' || status?.phase === 'Succeeded';

/** The lookups of TrafficMetrics, from the registry. They see the present objects at each call. */
export function metricsLookupOf(registry: Registry): MetricsLookup {
  const { indexes } = registry;
  return {
    namespaces: () => indexes.Namespace.all(),
    nodes: () => indexes.Node.all(),
    *pods(namespace): Iterable<PodObject> {
      const all = namespace === undefined ? indexes.Pod.all() : indexes.Pod.in(namespace);
      for (const pod of all) if (!hasEnded(pod) && !registry.isWaypointPod(pod)) yield pod;
    },
    pod: (namespace, name) => indexes.Pod.get(namespace, name),
    isInMesh: (pod) => uncapturedBecause(pod, registry.namespace(namespaceOf(pod))) === undefined,
    isWaypoint: (pod) => registry.isWaypointPod(pod),
    services: (namespace): Iterable<ServiceObject> =>
      namespace === undefined ? indexes.Service.all() : indexes.Service.in(namespace),
    *splits(namespace) {
      for (const split of registry.ofKind('TrafficSplit'))
        if (namespace === undefined || namespaceOf(split) === namespace) yield split;
    },
  };
}
