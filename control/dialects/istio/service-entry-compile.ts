/** Compiles ServiceEntries: one Service for each host, and the endpoints that the object states. Pure. */
import { isIp, parseIp } from '../../../src/model/address.js';
import { namespaceOf, selects, type Labels } from '../../../src/model/labels.js';
import type { Service } from '../../../src/model/service.js';
import type { PortMapping, ServiceKey, Workload } from '../../../src/model/workload.js';
import { plainEndpoint } from '../../compile/plain-endpoint.js';
import type { CompiledResource } from '../../compile/resource.js';
import { cluster } from '../../compile/service.js';
import type { CompileContext, Compiled } from '../../kinds/kind.js';
import { objectKey } from '../../objects/object-key.js';
import type { EntryPort, IstioObject, ServiceEntrySpec, WorkloadEntrySpec } from '../../objects/istio.js';
import type { Problem } from '../../registry/claims.js';
import type { Registry } from '../../registry/registry.js';
import { usedFields, type UsedField } from '../fields.js';
import { fieldRemarks, type Remark } from '../remarks.js';
import {
  tcpEntryPorts,
  checkEndpoint,
  checkPort,
  placeOf,
  portMappings,
  unusableBecause,
} from './entry-endpoints.js';
import { refusedWaypoint } from '../../../src/model/refused-waypoint.js';
import { hbonePort } from '../../compile/waypoints.js';
import { portsWithTls } from './destination-rule/layers.js';
import { serviceEntryFields } from './service-entry-fields.js';

type ServiceEntry = IstioObject<'ServiceEntry'>;

/** Hosts times ports times endpoints of one object (docs/limits.md): each endpoint states each port of each host. */
const mappingsMax = 65_536;

const clusterSuffix = '.cluster.local';
const isOfCluster = (host: string): boolean => host.endsWith(clusterSuffix);
const keyOf = (entry: ServiceEntry, host: string): ServiceKey =>
  `${namespaceOf(entry)}/${host}` as ServiceKey;

const hostsOfEntry = ({ spec }: ServiceEntry): readonly string[] => [
  ...new Set(spec.hosts.map((host) => host.toLowerCase())),
];
/** Host names that the object may have. */
export const claimableHosts = (entry: ServiceEntry): readonly string[] =>
  hostsOfEntry(entry).filter((host) => !isOfCluster(host));

/** The text of a block of one address is that address. */
const singleAddress = (text: string): string => text.replace(/\/(32|128)$/, '');
/** Addresses that the object may have, without blocks. */
export const claimableAddresses = ({ spec }: ServiceEntry): readonly string[] =>
  (spec.addresses ?? []).map(singleAddress).filter(isIp);

/** Throws an Error that names the field that cannot be read. The API server checks most of it by rules of the published CRD. */
function check({ spec }: ServiceEntry): void {
  const { hosts, addresses = [], ports = [], endpoints, workloadSelector, resolution = 'NONE' } = spec;
  hosts.forEach((host, i) => {
    if (host === '' || host === '*' || /[\s/]/.test(host) || host.lastIndexOf('*') > 0)
      throw new Error(`spec.hosts[${i}]: ${JSON.stringify(host.slice(0, 64))} is no host name`);
  });
  ports.forEach(({ number, targetPort }, i) => {
    checkPort(number, `spec.ports[${i}].number`);
    checkPort(targetPort, `spec.ports[${i}].targetPort`);
    if (ports.findIndex((one) => one.number === number) < i)
      throw new Error(`spec.ports[${i}].number: ${number} is the number of another port`);
  });
  addresses.forEach((address, i) => {
    const [ip = ''] = address.split('/');
    if (!isIp(ip))
      throw new Error(`spec.addresses[${i}]: ${JSON.stringify(address.slice(0, 64))} is no address`);
    const because = singleAddress(address) === ip ? unusableBecause(ip) : undefined;
    if (because !== undefined) throw new Error(`spec.addresses[${i}]: ${because}`);
  });
  if (endpoints && workloadSelector)
    throw new Error('spec.endpoints: an object with a workloadSelector has no endpoints of its own');
  if (endpoints && resolution === 'NONE')
    throw new Error('spec.endpoints: the resolution NONE connects to the dialed address; use STATIC');
  if (resolution === 'DNS_ROUND_ROBIN' && (endpoints?.length ?? 0) > 1)
    throw new Error('spec.endpoints: the resolution DNS_ROUND_ROBIN takes one endpoint');
  (endpoints ?? []).forEach((endpoint, i) => checkEndpoint(endpoint, `spec.endpoints[${i}]`));
  const mappings = hosts.length * ports.length * Math.max(endpoints?.length ?? 0, addresses.length, 1);
  if (mappings > mappingsMax)
    throw new Error(
      `spec.endpoints: ${mappings} ports of hosts at endpoints are more than the limit of ${mappingsMax}; use several objects`,
    );
}

interface HostEndpoint {
  readonly endpoint: WorkloadEntrySpec & { readonly address: string };
  /** Its hosts. */
  readonly of: readonly string[];
}

/** Endpoints of all hosts, with the address of each. */
function statedEndpoints(
  { spec }: ServiceEntry,
  own: readonly string[],
  resolved: (name: string) => readonly string[],
): readonly (WorkloadEntrySpec & { readonly address: string })[] {
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

const isDns = ({ resolution }: ServiceEntrySpec): boolean =>
  resolution === 'DNS' || resolution === 'DNS_ROUND_ROBIN';

/** The names that the control plane resolves for an object. */
export function namesToResolve(entry: ServiceEntry): readonly string[] {
  if (entry.invalid !== undefined || !isDns(entry.spec)) return [];
  const { endpoints, workloadSelector } = entry.spec;
  const names = endpoints
    ? endpoints.flatMap(({ address = '' }) =>
        address === '' || isIp(address) ? [] : [address.toLowerCase()],
      )
    : workloadSelector
      ? []
      : claimableHosts(entry).filter((host) => !host.startsWith('*'));
  return names.filter((name) => !name.startsWith('unix:'));
}

/** Whether clients of other namespaces may know the object. */
const isForAll = (entry: ServiceEntry, isExported: boolean): boolean =>
  isExported && (entry.spec.exportTo ?? ['*']).includes('*');

/** Compiles a ServiceEntry. Error: the field that cannot be read. */
export function compileServiceEntry(entry: ServiceEntry, { settings, registry }: CompileContext): Compiled {
  // The object was to open something: without it, its host is unknown.
  if (entry.invalid !== undefined) return { resources: [] };
  check(entry);
  const { claims } = registry;
  const { spec } = entry;
  const key = objectKey(entry);
  const { name } = entry.metadata;
  const namespace = namespaceOf(entry);
  const forAll = isForAll(entry, registry.isExported(namespace));
  const scope = forAll ? {} : ({ scope: 'namespace' } as const);
  const ports = tcpEntryPorts(spec.ports ?? []);
  const hosts = claimableHosts(entry).filter((host) => claims.hostLostTo(key, host) === undefined);
  const own = [...new Set(claimableAddresses(entry))].filter((ip) => !claims.addressLostTo(key, ip));
  const isPassthrough = (spec.resolution ?? 'NONE') === 'NONE' && !spec.workloadSelector;
  // Pods that the entry selects are in the mesh: connections to them are never plaintext.
  const numbers = spec.workloadSelector ? [] : ports.map(({ number }) => number);
  const closed = new Map(hosts.map((host) => [host, portsWithTls(host, namespace, numbers, registry)]));
  const closedOf = (host: string): ReadonlySet<number> => closed.get(host) ?? new Set();
  const services = hosts.map((host, i): Service => ({
    key: keyOf(entry, host),
    name,
    namespace,
    hostname: host,
    // An address leads to one Service: of several hosts to the first.
    addresses: i === 0 ? own.map((ip) => ({ network: '', ip: parseIp(ip) })) : [],
    ports: portMappings(ports.filter(({ number }) => !closedOf(host).has(number))),
    subjectAltNames: [],
    ...(isPassthrough
      ? { loadBalancing: { preference: [], mode: 'passthrough' as const, allowUnhealthy: false } }
      : {}),
    ...scope,
  }));
  // A name of somebody else's zone may be given any address: those of the cluster are reached by their own names.
  const resolved = (host: string): readonly string[] =>
    registry.names.of(host.toLowerCase()).filter((ip) => !claims.isOwned(ip));
  const stated: readonly HostEndpoint[] = statedEndpoints(entry, own, resolved).map((endpoint) => ({
    endpoint,
    of: hosts,
  }));
  const byName: readonly HostEndpoint[] =
    isDns(spec) && !spec.endpoints && !spec.workloadSelector
      ? hosts.flatMap((host) => resolved(host).map((address) => ({ endpoint: { address }, of: [host] })))
      : [];
  const closedEntry = (host: string): [ServiceKey, readonly PortMapping[]][] =>
    closedOf(host).size === 0 ? [] : [[closedKey(entry, host), closedMappings(ports, closedOf(host))]];
  const seen = new Map<string, number>();
  const endpoints = [...stated, ...byName].map(({ endpoint, of }): Workload => {
    const { address } = endpoint;
    const times = (seen.get(address) ?? 0) + 1;
    seen.set(address, times);
    const mappings: readonly PortMapping[] = portMappings(
      isPassthrough ? untargeted(ports) : ports,
      endpoint.ports,
    );
    return {
      ...plainEndpoint(
        settings.trustDomain,
        `${cluster}/networking.istio.io/ServiceEntry/${namespace}/${name}/${address}${times === 1 ? '' : `/${times}`}`,
        name,
        namespace,
        address,
        {
          node: '',
          healthy: true,
          services: new Map(
            of.flatMap((host): [ServiceKey, readonly PortMapping[]][] => [
              [keyOf(entry, host), mappings.filter(({ servicePort }) => !closedOf(host).has(servicePort))],
              ...closedEntry(host),
            ]),
          ),
        },
      ),
      ...placeOf(endpoint),
    };
  });
  const resources: CompiledResource[] = [
    ...services.map((value) => ({ kind: 'service', value }) as const),
    ...services.flatMap((value): CompiledResource[] =>
      closedOf(value.hostname).size === 0
        ? []
        : [{ kind: 'service', value: closedService(entry, value, ports, closedOf(value.hostname)) }],
    ),
    ...endpoints.map((value) => ({ kind: 'workload', value }) as const),
  ];
  const problem = problemOf(entry, registry);
  return { resources, ...(problem ? { problem } : {}), remarks: entryRemarks(entry, registry) };
}

const closedKey = (entry: ServiceEntry, host: string): ServiceKey =>
  keyOf(entry, `tls-closed.${host.replace('*', 'any')}`);
const closedMappings = (ports: readonly EntryPort[], closed: ReadonlySet<number>): readonly PortMapping[] =>
  portMappings(untargeted(ports.filter(({ number }) => closed.has(number))));
/**
 * A Service without addresses, whose waypoint never exists: connections to its ports at the endpoints are refused. A DestinationRule asks
 * for TLS there, which nothing on the way of these connections speaks.
 */
function closedService(
  entry: ServiceEntry,
  service: Service,
  ports: readonly EntryPort[],
  closed: ReadonlySet<number>,
): Service {
  const key = closedKey(entry, service.hostname);
  const { loadBalancing: _, ...others } = service;
  return {
    ...others,
    key,
    hostname: key.slice(key.indexOf('/') + 1),
    addresses: [],
    ports: closedMappings(ports, closed),
    waypoint: refusedWaypoint({ namespace: namespaceOf(entry), name: 'tls-of-destination-rule' }, hbonePort),
  };
}

/** The ports of a connection that goes to the dialed address and port. */
const untargeted = (ports: readonly EntryPort[]): readonly EntryPort[] =>
  ports.map(({ number, name, protocol }) => ({
    number,
    name,
    ...(protocol === undefined ? {} : { protocol }),
  }));

/** The ownership conflicts of an object. */
function problemOf(entry: ServiceEntry, { claims }: Registry): Problem | undefined {
  const key = objectKey(entry);
  const closedBy =
    entry.spec.resolution === 'DYNAMIC_DNS' ? serviceEntryFields['resolution=DYNAMIC_DNS'] : undefined;
  if (closedBy?.does === 'closes')
    return {
      reason: 'Unsupported',
      message: `spec.resolution: DYNAMIC_DNS: ${closedBy.because}; its hosts have no endpoints`,
    };
  const hosts = hostsOfEntry(entry).flatMap((host) => {
    const owner = isOfCluster(host) ? 'a Service of the cluster' : claims.hostLostTo(key, host);
    return owner === undefined ? [] : [`host ${host} belongs to ${owner}`];
  });
  if (hosts.length > 0)
    return {
      reason: 'HostConflict',
      message: `${hosts.join(', ')}; only the rest of this object is in force`,
    };
  return claims.addressProblem(key, claimableAddresses(entry), 'only the rest');
}

/** What of the object is not carried out. Fields whose difference does not concern this object are left out. */
function entryRemarks(entry: ServiceEntry, registry: Registry): Remark[] {
  const { spec } = entry;
  const isExported = registry.isExported(namespaceOf(entry));
  const addresses = claimableAddresses(entry);
  // `exportTo` is all namespaces unless the object states others.
  const written = { ...spec, exportTo: spec.exportTo ?? ['*'] };
  const concerns = ({ entry: field, value }: UsedField): boolean => {
    switch (field.replace(/\[\]$/, '')) {
      case 'hosts':
        return addresses.length === 0;
      case 'addresses':
        return addresses.length < (spec.addresses ?? []).length;
      case 'exportTo':
        return !isExported || !written.exportTo.includes('*');
      case 'endpoints[].address':
        return !isIp(String(value));
      default:
        return true;
    }
  };
  return fieldRemarks(usedFields(written, serviceEntryFields).filter(concerns));
}

/** The ServiceEntries of a namespace that may select workloads. */
export const selectingEntries = (namespace: string, { indexes }: Registry): readonly ServiceEntry[] =>
  indexes.ServiceEntry.in(namespace).filter(
    ({ invalid, spec }) => invalid === undefined && spec.workloadSelector !== undefined,
  );

/** The hosts of those entries that select a workload by its labels, with its ports. */
export function selectedHosts(
  entries: readonly ServiceEntry[],
  labels: Labels,
  own?: WorkloadEntrySpec['ports'],
): readonly (readonly [ServiceKey, readonly PortMapping[]])[] {
  return entries.flatMap((entry) => {
    if (!selects(entry.spec.workloadSelector?.labels, labels)) return [];
    const mappings = portMappings(tcpEntryPorts(entry.spec.ports ?? []), own);
    return claimableHosts(entry).map((host) => [keyOf(entry, host), mappings] as const);
  });
}
