/** Compiles the subsets of a Service that its DestinationRules name (src/model/subset.ts). Pure. */
import type { Labels } from '../../src/model/labels.js';
import type { Service } from '../../src/model/service.js';
import type { PortMapping, ServiceKey } from '../../src/model/workload.js';
import { hasLabels, subsetKeys, type RulesInForce } from '../dialects/istio/destination-rule/in-force.js';

/** The Services of the subsets: without addresses, so that nobody can dial them. */
export const subsetServices = (service: Service, rules: RulesInForce): Service[] =>
  subsetKeys(service.key, rules).map(({ key }) => ({
    ...service,
    key,
    hostname: key.slice(key.indexOf('/') + 1),
    addresses: [],
  }));

/** The entries of an endpoint of a Service: the Service, and the subsets that the endpoint's labels put it in. */
export function servicesOfPod(
  service: ServiceKey,
  ports: readonly PortMapping[],
  rules: RulesInForce | undefined,
  labels: Labels,
): [ServiceKey, readonly PortMapping[]][] {
  const subsets = rules ? subsetKeys(service, rules) : [];
  return [
    [service, ports],
    ...subsets.flatMap(({ key, subset }): [ServiceKey, readonly PortMapping[]][] =>
      hasLabels(subset, labels) ? [[key, ports]] : [],
    ),
  ];
}
