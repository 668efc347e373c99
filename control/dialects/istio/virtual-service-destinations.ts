/** Resolves the destinations of a VirtualService to Services. Pure. */
import { subsetKey, subsetNamePattern } from '../../../src/model/subset.js';
import { namespaceOf } from '../../../src/model/labels.js';
import type { BackendTarget } from '../../../src/model/route.js';
import { serviceKeyOf, tcpPorts } from '../../compile/service.js';
import type { Destination } from '../../objects/istio-virtual-service.js';
import type { ServiceObject } from '../../objects/objects.js';
import { completeHost, serviceOfHost } from './hosts.js';

export interface DestinationLookup {
  /** Whether DestinationRules define the subset. */
  readonly hasSubset: (service: ServiceObject, name: string) => boolean;
  readonly service: (namespace: string, name: string) => ServiceObject | undefined;
}

const weightMax = 2 ** 31 - 1;
/** The weight of a destination among `count`. The only one gets all requests. Error: it is no weight. */
export function weightOf(weight: number | undefined, count: number): number {
  if (weight !== undefined && !(Number.isInteger(weight) && weight >= 0 && weight <= weightMax))
    throw new Error(`route: ${weight} is no weight`);
  return count === 1 ? weight || 100 : (weight ?? 0);
}

/**
 * The Service port of a destination. Invalid: requests to it get 500.
 * @param namespace of the object that names it
 * @param dialed the port that the request came to, for destinations without a port
 */
export function targetOf(
  { host, subset, port }: Destination,
  namespace: string,
  dialed: number,
  lookup: DestinationLookup,
): BackendTarget {
  const invalid = (reason: string): BackendTarget => ({ kind: 'invalid', reason });
  if (host === undefined || host === '') return invalid('the destination names no host');
  const complete = completeHost(host, namespace);
  const named = serviceOfHost(complete);
  if (!named) return invalid(`${complete} is no Service of the cluster`);
  const service = lookup.service(named.namespace, named.name);
  if (!service) return invalid(`there is no Service ${named.namespace}/${named.name}`);
  const ports = tcpPorts(service).map((one) => one.port);
  const [only] = ports;
  const wanted = port?.number ?? (ports.length === 1 && only !== undefined ? only : dialed);
  const name = `Service ${namespaceOf(service)}/${service.metadata.name}`;
  if (!ports.includes(wanted))
    return invalid(`${name} has no TCP port ${wanted}${port?.number === undefined ? ': name one' : ''}`);
  const key = serviceKeyOf(service);
  if (subset === undefined || subset === '') return { kind: 'service', service: key, port: wanted };
  if (!subsetNamePattern.test(subset)) return invalid(`${JSON.stringify(subset)} is no name of a subset`);
  if (!lookup.hasSubset(service, subset))
    return invalid(`no DestinationRule defines subset ${subset} of ${name}`);
  return { kind: 'service', service: subsetKey(key, subset), port: wanted };
}
