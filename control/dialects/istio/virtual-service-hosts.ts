/**
 * Which Services a VirtualService is in force for. In each namespace the VirtualService with the most specific host wins, then the oldest. It
 * acts on the clients that Weft lets an object of its namespace act on: all of its own namespace's Services, and the namespace's own clients
 * elsewhere. Pure.
 */
import { namespaceOf } from '../../../src/model/labels.js';
import type { IstioObject, ServiceObject } from '../../objects/objects.js';
import { appProtocol } from '../../compile/protocols.js';
import { mayHaveWaypoint } from '../../compile/waypoints.js';
import { objectKey } from '../../objects/object-key.js';
import { hostAndWildcards, hostOfService, hostsOf, serviceOfHost } from './hosts.js';
import { isForMesh } from './virtual-service-matches.js';

export type VirtualService = IstioObject<'VirtualService'>;
export interface HostLookup {
  service(namespace: string, name: string): ServiceObject | undefined;
  services(namespace: string): readonly ServiceObject[];
  /** As Registry.virtualServicesOf. */
  virtualServicesOf(host: string): readonly VirtualService[];
  /** As Registry.serviceEntriesOf. */
  serviceEntriesOf(host: string, namespace: string): readonly IstioObject<'ServiceEntry'>[];
}

/** Closed forms act, too. Gateways that cannot be read count as the mesh. */
const actsInMesh = (object: VirtualService): boolean =>
  isForMesh(object.spec.gateways) && exportedTo(object)?.length !== 0;

/** Namespaces that the object is exported to; undefined: all. */
export function exportedTo(object: VirtualService): readonly string[] | undefined {
  const names = object.spec.exportTo ?? [];
  if (names.length === 0 || names.includes('*')) return undefined;
  return names.flatMap((one) => (one === '.' ? [namespaceOf(object)] : one === '~' ? [] : [one]));
}

export const isExportedTo = (object: VirtualService, namespace: string): boolean =>
  exportedTo(object)?.includes(namespace) ?? true;

/** The first of each namespace, by list of VirtualServices of one host. A list is the same array until its content changes. */
const firsts = new WeakMap<readonly VirtualService[], ReadonlyMap<string, VirtualService>>();
function firstsOf(list: readonly VirtualService[]): ReadonlyMap<string, VirtualService> {
  let found = firsts.get(list);
  if (!found) {
    const made = new Map<string, VirtualService>();
    for (const one of list) {
      const namespace = namespaceOf(one);
      if (!made.has(namespace) && actsInMesh(one)) made.set(namespace, one);
    }
    firsts.set(list, (found = made));
  }
  return found;
}

/** The first object of a namespace in a list of VirtualServices of one host: only such objects are in force for a Service. */
export const firstOf = (list: readonly VirtualService[], namespace: string): VirtualService | undefined =>
  firstsOf(list).get(namespace);

/** The VirtualService of a namespace that is in force for a Service. */
export function inForceFor(
  service: ServiceObject,
  namespace: string,
  lookup: HostLookup,
): VirtualService | undefined {
  for (const pattern of hostAndWildcards(hostOfService(namespaceOf(service), service.metadata.name))) {
    const found = firstOf(lookup.virtualServicesOf(pattern), namespace);
    if (found) return found;
  }
  return undefined;
}

/** Whether an object may have rules for a port; if not, it leaves the port to others. A closed form concerns every port. */
export function mayConcern({ spec, invalid }: VirtualService, port: ServicePort): boolean {
  if (invalid !== undefined) return true;
  const has = (list: readonly unknown[] | undefined): boolean => (list?.length ?? 0) > 0;
  const protocol = appProtocol(port);
  if (protocol === 'tcp') return has(spec.tcp);
  if (protocol === 'tls') return has(spec.tls) || has(spec.tcp);
  return has(spec.http) || (protocol === 'unknown' && (has(spec.tls) || has(spec.tcp)));
}
type ServicePort = Parameters<typeof appProtocol>[0];

export interface HostVerdict {
  readonly host: string;
  /** Services of the host, with the other VirtualService that is in force for it, if there is one. */
  readonly services: readonly { readonly service: ServiceObject; readonly lostTo?: VirtualService }[];
  /** The ServiceEntry of the object's namespace that has the host. */
  readonly entry?: { readonly entry: IstioObject<'ServiceEntry'>; readonly lostTo?: VirtualService };
  /** Why the host concerns no Service. */
  readonly why?: string;
}

/** The Services of each host. */
export function hostVerdicts(object: VirtualService, lookup: HostLookup): HostVerdict[] {
  const namespace = namespaceOf(object);
  const key = objectKey(object);
  const seen = new Set<ServiceObject>();
  return [...new Set(hostsOf(object))].map((host) => {
    const found = servicesOf(host, namespace, lookup).filter((service) => !seen.has(service));
    const services = found.flatMap((service) => {
      const winner = inForceFor(service, namespace, lookup);
      const isLost = winner !== undefined && objectKey(winner) !== key;
      // Another host of the object, or another object with a more specific host, may concern the Service: wildcards are for the others.
      if (isLost && host.startsWith('*') && !hostsOf(winner).includes(host)) return [];
      seen.add(service);
      return [{ service, ...(isLost ? { lostTo: winner } : {}) }];
    });
    if (found.length > 0) return { host, services };
    const entry = entryOf(host, namespace, lookup);
    if (entry) {
      const winner = firstsOf(lookup.virtualServicesOf(host)).get(namespace);
      const isLost = winner !== undefined && objectKey(winner) !== key;
      return { host, services, entry: { entry, ...(isLost ? { lostTo: winner } : {}) } };
    }
    const why = host.startsWith('*')
      ? `${host} matches no Service`
      : serviceOfHost(host)
        ? `there is no Service ${host}`
        : `${host} is no Service of the cluster, and no ServiceEntry of namespace ${namespace} has it whose resolution is STATIC or DNS`;
    return { host, services, why };
  });
}

/** The ServiceEntry of a namespace that has a complete host and may have a waypoint. */
export const entryOf = (
  host: string,
  namespace: string,
  lookup: Pick<HostLookup, 'serviceEntriesOf'>,
): IstioObject<'ServiceEntry'> | undefined =>
  serviceOfHost(host) ? undefined : lookup.serviceEntriesOf(host, namespace).find(mayHaveWaypoint);

function servicesOf(host: string, own: string, lookup: HostLookup): readonly ServiceObject[] {
  if (!host.startsWith('*')) {
    const named = serviceOfHost(host);
    const service = named && lookup.service(named.namespace, named.name);
    return service ? [service] : [];
  }
  // `*.shop.svc.cluster.local` names one namespace. A wider wildcard means the object's own: it does not reach into all others.
  const [, named] = /^\*\.([^.]+)\.svc\.cluster\.local$/.exec(host) ?? [];
  const namespace = named ?? own;
  // Names of Services have no dots, so that a wildcard matches all of a namespace or none.
  if (!hostAndWildcards(hostOfService(namespace, 'x')).includes(host)) return [];
  // In an order of their own: the status must not depend on which Service arrived first.
  return [...lookup.services(namespace)].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

/** Hosts whose VirtualServices may be in force for other Services, once this object's hosts have changed. */
export function competingHosts(object: VirtualService, lookup: HostLookup): ReadonlySet<string> {
  const namespace = namespaceOf(object);
  const hosts = new Set<string>();
  for (const host of hostsOf(object)) {
    for (const pattern of hostAndWildcards(host)) hosts.add(pattern);
    for (const service of host.startsWith('*') ? servicesOf(host, namespace, lookup) : [])
      for (const one of hostAndWildcards(hostOfService(namespaceOf(service), service.metadata.name)))
        hosts.add(one);
  }
  return hosts;
}
