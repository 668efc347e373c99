/** What a waypoint may report: what clients of the mesh send to Services, workloads and external hosts that use it. Pure. */
import { otherName, type Edge, type EdgeParty } from '../../src/model/edge.js';
import { workloadIdentityOf } from '../../src/model/identity.js';
import { mayStandBefore, namespaceOfKey } from '../../src/model/ownership.js';
import type { Service } from '../../src/model/service.js';
import type { ServiceKey, Workload } from '../../src/model/workload.js';
import type { Compiler } from '../compile/compile.js';
import { first } from '../compile/observable.js';
import { waypointReference, type WaypointName } from '../compile/waypoints.js';

export type ObservableMesh = Pick<Compiler, 'observable' | 'workloadsNamed'>;

/** Several parties that a program did not tell apart, because it has too many edges. */
const isOther = ({ workload, pod, identity }: EdgeParty): boolean =>
  workload === otherName && pod === otherName && identity === undefined;
const isUnnamed = ({ workload, pod, identity }: EdgeParty): boolean =>
  workload === '' && pod === '' && identity === undefined;
const isSame = ({ workloadName, identity }: Workload, party: EdgeParty): boolean =>
  workloadName === party.workload && identity === party.identity;

/** Services of one party that are looked at: a report must not cost more because a tenant has made many. */
const servicesMax = 256;

/** The workloads that a party may be, those of the last minutes included. */
const workloadsOf = (party: EdgeParty, mesh: ObservableMesh): readonly Workload[] => {
  const { namespace, pod } = party;
  const there = mesh.workloadsNamed(namespace, pod).filter((one) => isSame(one, party));
  const others = [...mesh.observable.workloadsNamed(namespace, pod)].filter((one) => isSame(one, party));
  return [...there, ...others];
};

/** Whether the party is a client of the mesh, or names nobody. */
function isClient(party: EdgeParty, mesh: ObservableMesh): boolean {
  const { namespace, workload, pod, identity } = party;
  if (identity === undefined) return namespace === '' && isUnnamed(party);
  if (workloadIdentityOf(identity)?.namespace !== namespace) return false;
  return pod === ''
    ? workload === '' && mesh.observable.hasIdentity(identity)
    : workloadsOf(party, mesh).length > 0;
}

/**
 * The Services of which workloads are endpoints, or own the address of an endpoint that is written by hand.
 * @param namespaces of Services with such endpoints
 */
function* servicesOf(
  workloads: readonly Workload[],
  namespaces: ReadonlySet<string>,
  { observable }: ObservableMesh,
): Generator<ServiceKey> {
  for (const { services } of workloads) yield* services.keys();
  for (const { addresses } of workloads)
    for (const ip of addresses)
      for (const namespace of namespaces)
        for (const { services } of observable.writtenAt(namespace, ip))
          yield* services.keys();
}

/** Whether requests to a Service reach the destination: as its endpoint, or as that of a backend of its routes. */
function reaches(
  { key, namespace }: Service,
  { source, destination }: Pick<Edge, 'source' | 'destination'>,
  mesh: ObservableMesh,
): boolean {
  const { observable } = mesh;
  if (isUnnamed(destination)) return destination.namespace === namespace;
  // A route of another namespace is for that namespace's clients.
  const leads = (to: string): boolean =>
    observable.leads(key, to, namespace) || observable.leads(key, to, source.namespace);
  if (isOther(destination)) {
    const { namespace: to } = destination;
    return to === namespace || leads(to) || observable.leads(key, to, to);
  }
  const workloads = workloadsOf(destination, mesh);
  if (workloads.some(({ services }) => services.has(key))) return true;
  const written = new Set([namespace, source.namespace]);
  for (const one of first(servicesOf(workloads, written, mesh), servicesMax))
    if (one === key || leads(one)) return true;
  return false;
}

/** The namespace for which a waypoint may report the edge: that of the Service or workload that was dialed. Undefined: it may not. */
export function servedNamespace(
  edge: Pick<Edge, 'source' | 'destination' | 'service'>,
  waypoint: WaypointName,
  mesh: ObservableMesh,
): string | undefined {
  const { source, destination, service: host } = edge;
  const { observable } = mesh;
  const isOverflow = isOther(source) && source.namespace === otherName && isOther(destination);
  if (!isOverflow && !isClient(source, mesh)) return undefined;
  const own = waypointReference(waypoint).service;
  if (host !== '') {
    for (const service of observable.served(own, host))
      if (reaches(service, edge, mesh)) return service.namespace;
    return undefined;
  }
  // A workload was dialed by its own address: the waypoint is that of its namespace's Services.
  const { namespace } = destination;
  if (!observable.uses(own, namespace)) return undefined;
  if (isUnnamed(destination) || isOther(destination)) return namespace;
  const services = servicesOf(workloadsOf(destination, mesh), new Set([namespace]), mesh);
  for (const key of first(services, servicesMax))
    if (mayStandBefore(namespaceOfKey(key), namespace) && observable.uses(own, key)) return namespace;
  return undefined;
}
