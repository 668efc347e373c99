/** Services whose configuration needs a waypoint, and that have none. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import { hostOfService } from '../dialects/istio/hosts.js';
import type { ServiceObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';
import { fieldsOf, listOf } from './load.js';
import type { MigrateFinding } from './report.js';

const hasRules = (object: { readonly spec: object }): boolean => {
  const spec = fieldsOf(object.spec);
  return ['http', 'tcp', 'tls'].some((field) => listOf(spec[field]).length > 0);
};

export function waypointFindings(service: ServiceObject, registry: Registry): MigrateFinding[] {
  if (registry.waypointOf(service)) return [];
  const [namespace, name] = [namespaceOf(service), service.metadata.name];
  const host = hostOfService(namespace, name);
  const needs = [
    ...registry.virtualServicesOf(host).filter(hasRules),
    ...registry.destinationRulesOf(host).filter(({ spec }) => fieldsOf(spec)['trafficPolicy'] !== undefined),
    ...registry
      .routesOf(namespace, name)
      .filter(({ spec }) =>
        (spec.parentRefs ?? []).some((parent) => parent.kind === 'Service' && parent.name === name),
      ),
  ].map((one) => `${one.kind} ${namespaceOf(one)}/${one.metadata.name}`);
  if (needs.length === 0) return [];
  return [
    {
      result: 'missing',
      message: `it has no waypoint, which ${needs.join(', ')} ${needs.length === 1 ? 'needs' : 'need'}: its connections go to its pods directly`,
      instead: `weft waypoint apply -n ${namespace} && kubectl label service -n ${namespace} ${name} weft.dev/waypoint=waypoint`,
    },
  ];
}
