/** What a waypoint may report: what clients of the mesh send to Services, workloads and external hosts that use it. Pure. */
import { otherName, type Edge, type EdgeParty } from '../../src/model/edge.js';
import { workloadIdentityOf } from '../../src/model/identity.js';
import { namespaceOfKey } from '../../src/model/ownership.js';
import type { Service } from '../../src/model/service.js';
import type { ServiceKey, Workload } from '../../src/model/workload.js';
import type { Compiler } from '../compile/compile.js';
import { backendsOf, waypointUsedBy } from '../compile/observable.js';
import { waypointReference, type WaypointName } from '../compile/waypoints.js';

export type ObservableMesh = Pick<Compiler, 'observable' | 'workloadsNamed'>;

/** Several parties that a program did not tell apart, because it has too many edges. */
const isOther = ({ workload, pod, identity }: EdgeParty): boolean =>
  workload === otherName && pod === otherName && identity === undefined;
const isUnnamed = ({ workload, pod, identity }: EdgeParty): boolean =>
  workload === '' && pod === '' && identity === undefined;
const isSame = ({ workloadName, identity }: Workload, party: EdgeParty): boolean =>
  workloadName === party.workload && identity === party.identity;

/** The pods and Workloads that a party may be, those of the last minutes included. */
function ownersOf(party: EdgeParty, mesh: ObservableMesh): readonly Workload[] {
  const { namespace, pod } = party;
  return [...mesh.workloadsNamed(namespace, pod), ...mesh.observable.formerOwners(namespace, pod)].filter(
    (one) => isSame(one, party),
  );
}

/** Whether the party is a client of the mesh, or names nobody. */
function isClient(party: EdgeParty, mesh: ObservableMesh): boolean {
  const { namespace, workload, pod, identity } = party;
  if (identity === undefined) return namespace === '' && isUnnamed(party);
  if (workloadIdentityOf(identity)?.namespace !== namespace) return false;
  return pod === ''
    ? workload === '' && mesh.observable.hasIdentity(identity)
    : ownersOf(party, mesh).length > 0;
}

/** Whether the party is an endpoint of a Service, or owns the address of an endpoint that is written by hand. */
function isEndpointOf(
  key: ServiceKey,
  party: EdgeParty,
  owners: readonly Workload[],
  { observable }: ObservableMesh,
): boolean {
  if (owners.some(({ services }) => services.has(key))) return true;
  for (const one of observable.referencesOf(key)) {
    if (one.namespace === party.namespace && one.name === party.pod && isSame(one, party)) return true;
    if (owners.some(({ addresses }) => addresses.some((ip) => one.addresses.includes(ip)))) return true;
  }
  return false;
}

/** The Services whose endpoints requests to a Service reach. @param client its namespace; undefined: any client */
function* reachedThrough(
  { key, namespace }: Service,
  client: string | undefined,
  { observable }: ObservableMesh,
): Generator<ServiceKey> {
  yield key;
  // A route of another namespace is for that namespace's clients.
  for (const route of observable.routesOf(key))
    if (client === undefined || [namespace, client].includes(route.namespace)) yield* backendsOf(route);
}

function reaches(
  service: Service,
  { source, destination }: Pick<Edge, 'source' | 'destination'>,
  mesh: ObservableMesh,
): boolean {
  if (isUnnamed(destination)) return destination.namespace === service.namespace;
  if (isOther(destination)) {
    for (const key of reachedThrough(service, undefined, mesh))
      if (namespaceOfKey(key) === destination.namespace) return true;
    return false;
  }
  const owners = ownersOf(destination, mesh);
  for (const key of reachedThrough(service, source.namespace, mesh))
    if (isEndpointOf(key, destination, owners, mesh)) return true;
  return false;
}

/** The namespace for which a waypoint may report the edge: that of the Service or workload that was dialed. Undefined: it may not. */
export function servedNamespace(
  edge: Pick<Edge, 'source' | 'destination' | 'service'>,
  waypoint: WaypointName,
  mesh: ObservableMesh,
): string | undefined {
  const { source, destination, service: host } = edge;
  const isOverflow = isOther(source) && source.namespace === otherName && isOther(destination);
  if (!isOverflow && !isClient(source, mesh)) return undefined;
  const own = waypointReference(waypoint).service;
  if (host !== '') {
    for (const service of mesh.observable.servicesNamed(host))
      if (waypointUsedBy(service) === own && reaches(service, edge, mesh)) return service.namespace;
    return undefined;
  }
  // A workload was dialed by its own address: the waypoint is that of its namespace's Services.
  const { namespace } = destination;
  const owners = ownersOf(destination, mesh);
  for (const { key } of mesh.observable.servicesThrough(own, namespace))
    if (isUnnamed(destination) || isOther(destination) || isEndpointOf(key, destination, owners, mesh))
      return namespace;
  return undefined;
}
