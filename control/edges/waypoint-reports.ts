/** What a waypoint may report: what clients of the mesh send to Services, workloads and external hosts that use it. Pure. */
import { isOtherParty, otherName, type Edge, type EdgeParty } from '../../src/model/edge.js';
import { workloadIdentityOf } from '../../src/model/identity.js';
import { mayStandBefore, namespaceOfKey } from '../../src/model/ownership.js';
import type { Service } from '../../src/model/service.js';
import type { ServiceKey, Workload } from '../../src/model/workload.js';
import type { Compiler } from '../compile/compile.js';
import { first } from '../compile/observable.js';
import { waypointReference, type WaypointName } from '../compile/waypoints.js';

export type ObservableMesh = Pick<Compiler, 'observable' | 'workloadsNamed'>;

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
        for (const { services } of observable.writtenAt(namespace, ip)) yield* services.keys();
}

/** The namespace for which an edge is reported, and the destination as it is shown. */
export interface ReportedEdge {
  readonly namespace: string;
  readonly destination: EdgeParty;
}

/** A destination of which only the namespace is known: the Service stands for it. */
const unnamedIn = (namespace: string): EdgeParty => ({
  namespace,
  workload: '',
  pod: '',
  identity: undefined,
});

/**
 * The destination of requests to a Service, as its endpoint, or as that of a backend of its routes. Undefined: they do not reach it. Whoever
 * writes an address of another namespace by hand gives it another name (mayStandBefore), and does not speak for who calls its owner: such a
 * destination is shown as the Service that was dialed.
 */
function reached(
  { key, namespace }: Service,
  { source, destination }: Pick<Edge, 'source' | 'destination'>,
  mesh: ObservableMesh,
): EdgeParty | undefined {
  const { observable } = mesh;
  if (isUnnamed(destination)) return destination.namespace === namespace ? destination : undefined;
  // A route of another namespace is for that namespace's clients.
  const leads = (to: string): boolean =>
    observable.leads(key, to, namespace) || observable.leads(key, to, source.namespace);
  const { namespace: to } = destination;
  if (isOtherParty(destination))
    return to === namespace || leads(to) || observable.leads(key, to, to) ? destination : undefined;
  const workloads = workloadsOf(destination, mesh);
  if (mayStandBefore(namespace, to) && workloads.some(({ services }) => services.has(key)))
    return destination;
  const written = new Set([namespace, source.namespace]);
  let isReached = false;
  for (const one of first(servicesOf(workloads, written, mesh), servicesMax)) {
    if (one !== key && !leads(one)) continue;
    if (mayStandBefore(namespaceOfKey(one), to)) return destination;
    isReached = true;
  }
  return isReached ? unnamedIn(namespace) : undefined;
}

/** Undefined: the waypoint may not report the edge. The namespace is that of the Service or workload that was dialed. */
export function servedEdge(
  edge: Pick<Edge, 'source' | 'destination' | 'service'>,
  waypoint: WaypointName,
  mesh: ObservableMesh,
): ReportedEdge | undefined {
  const { source, destination, service: host } = edge;
  const { observable } = mesh;
  const isOverflow = isOtherParty(source) && source.namespace === otherName && isOtherParty(destination);
  if (!isOverflow && !isClient(source, mesh)) return undefined;
  const own = waypointReference(waypoint).service;
  if (host !== '') {
    let byHand: ReportedEdge | undefined;
    for (const service of observable.served(own, host)) {
      const shown = reached(service, edge, mesh);
      if (!shown) continue;
      const reported = { namespace: service.namespace, destination: shown };
      // A host outside of the cluster may be that of several namespaces.
      if (shown === destination) return reported;
      byHand ??= reported;
    }
    return byHand;
  }
  // A workload was dialed by its own address: the waypoint is that of its namespace's Services.
  const { namespace } = destination;
  if (!observable.uses(own, namespace)) return undefined;
  if (isUnnamed(destination) || isOtherParty(destination)) return { namespace, destination };
  const services = servicesOf(workloadsOf(destination, mesh), new Set([namespace]), mesh);
  for (const key of first(services, servicesMax))
    if (mayStandBefore(namespaceOfKey(key), namespace) && observable.uses(own, key))
      return { namespace, destination };
  return undefined;
}
