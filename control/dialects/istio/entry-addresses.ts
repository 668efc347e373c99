/**
 * The endpoints of ServiceEntries, and the addresses by which a waypoint's clients recognize their hosts. A client dials what DNS gives it,
 * which for most hosts outside of the cluster are the addresses of the endpoints. Pure.
 */
import { isIp, parseIp, type IpAddress } from '../../../src/model/address.js';
import { byAge } from '../../objects/age.js';
import { objectKey } from '../../objects/object-key.js';
import type { IstioObject, ServiceEntrySpec, WorkloadEntrySpec } from '../../objects/istio.js';
import type { Registry } from '../../registry/registry.js';

export type ServiceEntry = IstioObject<'ServiceEntry'>;

export interface HostEndpoint {
  readonly endpoint: WorkloadEntrySpec & { readonly address: string };
  /** Its hosts. */
  readonly of: readonly string[];
}

const clusterSuffix = '.cluster.local';
/** Whether a host is one of the cluster's domain: such a name belongs to its Service. */
export const isOfCluster = (host: string): boolean => host.endsWith(clusterSuffix);
/** The host names of an object in lower case, each once. */
export const hostsOfEntry = ({ spec }: ServiceEntry): readonly string[] => [
  ...new Set(spec.hosts.map((host) => host.toLowerCase())),
];
/** Host names that the object may have. */
export const claimableHosts = (entry: ServiceEntry): readonly string[] =>
  hostsOfEntry(entry).filter((host) => !isOfCluster(host));

/** The text of a block of one address is that address. */
export const singleAddress = (text: string): string => text.replace(/\/(32|128)$/, '');
/** Addresses that the object may have, without blocks. */
export const claimableAddresses = ({ spec }: ServiceEntry): readonly string[] =>
  (spec.addresses ?? []).map(singleAddress).filter(isIp);

/** Whether DNS gives the addresses of endpoints. */
export const isDns = ({ resolution }: ServiceEntrySpec): boolean =>
  resolution === 'DNS' || resolution === 'DNS_ROUND_ROBIN';

/** Endpoints of all hosts, with the address of each. */
function statedEndpoints(
  { spec }: ServiceEntry,
  own: readonly string[],
  resolved: (name: string) => readonly string[],
): readonly HostEndpoint['endpoint'][] {
  switch (spec.resolution ?? 'NONE') {
    case 'NONE':
      return own.map((address) => ({ address }));
    case 'DYNAMIC_DNS':
      return [];
    default:
      return (spec.endpoints ?? []).flatMap((endpoint) => {
        const { address = '' } = endpoint;
        if (isIp(address)) return [{ ...endpoint, address }];
        return isDns(spec) ? resolved(address).map((ip) => ({ ...endpoint, address: ip })) : [];
      });
  }
}

/**
 * The endpoints of an object, without those that it selects.
 * @param hosts the hosts that belong to it
 * @param own the addresses that belong to it
 */
export function hostEndpoints(
  entry: ServiceEntry,
  hosts: readonly string[],
  own: readonly string[],
  { names, claims }: Pick<Registry, 'names' | 'claims'>,
): readonly HostEndpoint[] {
  const { spec } = entry;
  // A name of somebody else's zone may be given any address: those of the cluster are reached by their own names.
  const resolved = (host: string): readonly string[] =>
    names.of(host.toLowerCase()).filter((ip) => !claims.isOwned(ip));
  const stated = statedEndpoints(entry, own, resolved).map((endpoint) => ({ endpoint, of: hosts }));
  const byName =
    isDns(spec) && !spec.endpoints && !spec.workloadSelector
      ? hosts.flatMap((host) => resolved(host).map((address) => ({ endpoint: { address }, of: [host] })))
      : [];
  return [...stated, ...byName];
}

export interface HostsAndAddresses {
  readonly hosts: readonly string[];
  readonly own: readonly string[];
}
/** The hosts and addresses of an object that no other object has. */
export function ownedBy(entry: ServiceEntry, { claims }: Pick<Registry, 'claims'>): HostsAndAddresses {
  const key = objectKey(entry);
  return {
    hosts: claimableHosts(entry).filter((host) => claims.hostLostTo(key, host) === undefined),
    own: [...new Set(claimableAddresses(entry))].filter((ip) => !claims.addressLostTo(key, ip)),
  };
}

/** Whether clients of other namespaces may know the object. */
export const isForAll = (entry: ServiceEntry, isExported: boolean): boolean =>
  isExported && (entry.spec.exportTo ?? ['*']).includes('*');

/** The host, as `<name of the ServiceEntry>/<host>`, that clients of a namespace reach at the address of an endpoint. */
export type EndpointOwners = ReadonlyMap<IpAddress, string>;
/** The owner in `EndpointOwners`. */
export const ownerName = (entry: ServiceEntry, host: string): string => `${entry.metadata.name}/${host}`;

/** The ServiceEntries of a namespace whose connections take a waypoint. */
export const servedEntries = (namespace: string, registry: Registry): readonly ServiceEntry[] =>
  registry.indexes.ServiceEntry.in(namespace).filter((entry) => registry.waypointOf(entry) !== undefined);

/**
 * Of several hosts with an endpoint at one address, connections to it belong to the oldest object's: nothing in a connection says which
 * host was meant. An address that an object has, as its own, is not among them.
 */
export function endpointOwners(namespace: string, registry: Registry): EndpointOwners {
  const owners = new Map<IpAddress, string>();
  const { claims } = registry;
  for (const entry of [...servedEntries(namespace, registry)].sort(byAge)) {
    const { hosts, own } = ownedBy(entry, registry);
    // Its endpoints' addresses are known to its own namespace alone, and a Service is known to all or to one.
    if (own.length > 0 && isForAll(entry, registry.isExported(namespace))) continue;
    for (const { endpoint, of } of hostEndpoints(entry, hosts, own, registry)) {
      const [host] = of;
      if (host === undefined || claims.isTaken(namespace, endpoint.address)) continue;
      const ip = parseIp(endpoint.address);
      if (!owners.has(ip)) owners.set(ip, ownerName(entry, host));
    }
  }
  return owners;
}
