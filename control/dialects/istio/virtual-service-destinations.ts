/** Resolves the destinations of a VirtualService to Services. Pure. */
import { subsetKey, subsetNamePattern } from '../../../src/model/subset.js';
import { namespaceOf } from '../../../src/model/labels.js';
import type { ServiceKey } from '../../../src/model/workload.js';
import type { BackendTarget } from '../../../src/model/route.js';
import { serviceKeyOf, tcpPorts } from '../../compile/service.js';
import type { Destination } from '../../objects/istio-virtual-service.js';
import type { ServiceObject } from '../../objects/objects.js';
import { tcpEntryPorts } from './entry-endpoints.js';
import { completeHost, serviceOfHost } from './hosts.js';
import { entryOf, type HostLookup } from './virtual-service-hosts.js';

export interface DestinationLookup {
  /** Whether DestinationRules define the subset. */
  readonly hasSubset: (service: ServiceObject, name: string) => boolean;
  readonly service: (namespace: string, name: string) => ServiceObject | undefined;
  readonly serviceEntriesOf: HostLookup['serviceEntriesOf'];
}

const weightMax = 2 ** 31 - 1;
/** The weight of a destination among `count`. The only one gets all requests. Error: it is no weight. */
export function weightOf(weight: number | undefined, count: number): number {
  if (weight !== undefined && !(Number.isInteger(weight) && weight >= 0 && weight <= weightMax))
    throw new Error(`route: ${weight} is no weight`);
  return count === 1 ? weight || 100 : (weight ?? 0);
}

/** The port that a destination means; a text: there is none. */
function portOf(ports: readonly number[], named: Destination['port'], dialed: number): number | string {
  const [only] = ports;
  const wanted = named?.number ?? (ports.length === 1 && only !== undefined ? only : dialed);
  if (ports.includes(wanted)) return wanted;
  return `has no TCP port ${wanted}${named?.number === undefined ? ': name one' : ''}`;
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
  if (!named) {
    const entry = entryOf(complete, namespace, lookup);
    if (!entry)
      return invalid(
        `${complete} is no Service of the cluster, and no ServiceEntry of namespace ${namespace} has it whose resolution is STATIC or DNS`,
      );
    const wanted = portOf(
      tcpEntryPorts(entry.spec.ports ?? []).map(({ number }) => number),
      port,
      dialed,
    );
    if (typeof wanted === 'string')
      return invalid(`ServiceEntry ${namespace}/${entry.metadata.name} ${wanted}`);
    if (subset !== undefined && subset !== '')
      return invalid(`endpoints of ServiceEntry ${namespace}/${entry.metadata.name} are in no subset`);
    return { kind: 'service', service: `${namespace}/${complete}` as ServiceKey, port: wanted };
  }
  const service = lookup.service(named.namespace, named.name);
  if (!service) return invalid(`there is no Service ${named.namespace}/${named.name}`);
  const name = `Service ${namespaceOf(service)}/${service.metadata.name}`;
  const wanted = portOf(
    tcpPorts(service).map((one) => one.port),
    port,
    dialed,
  );
  if (typeof wanted === 'string') return invalid(`${name} ${wanted}`);
  const key = serviceKeyOf(service);
  if (subset === undefined || subset === '') return { kind: 'service', service: key, port: wanted };
  if (!subsetNamePattern.test(subset)) return invalid(`${JSON.stringify(subset)} is no name of a subset`);
  if (!lookup.hasSubset(service, subset))
    return invalid(`no DestinationRule defines subset ${subset} of ${name}`);
  return { kind: 'service', service: subsetKey(key, subset), port: wanted };
}
