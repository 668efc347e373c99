/**
 * Filters that a Service port demands of whatever reaches its endpoints: validated tokens, and decisions about requests. A client could
 * otherwise evade them by a route of another Service, by another Service with the same pods, or by the address of a pod.
 */
import { namespaceOfKey } from '../../model/ownership.js';
import type { BackendTarget } from '../../model/route.js';
import { subsetOf } from '../../model/subset.js';
import type { Cluster } from '../cluster/cluster.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { StagedFilter } from '../filters/filter.js';
import type { Client } from '../listener/client.js';
import { servicePortOf, type Destination } from '../listener/destination.js';
import type { Demanded } from '../state/request-settings.js';
import type { WaypointState } from '../state/waypoint-state.js';
import type { ServicePort } from './reachable.js';

const none: readonly Demanded[] = [];

/**
 * The filters that a request has to pass besides those of the Service port that the client dialed.
 * @param target the backend that it is sent to; undefined: the dialed address
 * @param cluster the endpoints that it may be sent to; undefined: there are none
 * @param changedBy the namespace of the route whose rule may have changed the request since it passed the filters of the dialed Service port
 */
export function demandedElsewhere(
  state: WaypointState,
  client: Client,
  destination: Destination,
  target: BackendTarget | undefined,
  cluster: Cluster | undefined,
  changedBy: string | undefined,
): readonly Demanded[] {
  if (!state.hasDemands) return none;
  const own = portsOf(target?.kind === 'service' ? target : undefined);
  const behind = cluster ? portsBehind(state, cluster) : [];
  const others = withoutServices(behind, [...portsOf(servicePortOf(destination)), ...own]);
  return filtersOf(state, client, [...own, ...others], servicePortOf(destination), changedBy);
}

export const filtersIn = (demanded: readonly Demanded[]): readonly StagedFilter[] =>
  demanded.map(({ filter }) => filter);

/** Whether a connection to the endpoint would have to pass filters. One that is not HTTP cannot. */
export function isAnyDemanded(
  state: WaypointState,
  client: Client,
  destination: Destination,
  sent: ServicePort | undefined,
  endpoint: Endpoint,
): boolean {
  if (!state.hasDemands) return false;
  const own = [...portsOf(servicePortOf(destination)), ...portsOf(sent)];
  const ports = [...own, ...withoutServices(portsOfEndpoint(state, endpoint), own)];
  return ports.some(({ service, port }) =>
    state.requestSettings(service, port, client).demanded.some((one) => !one.unproven),
  );
}

/**
 * Each policy holds once, though several ports demand it. What was decided at the dialed port counts for ports of the same namespace alone, and
 * only if no rule of another namespace may have changed the request since: the author of a route does not decide what another namespace's
 * policy was asked about.
 * @param dialed its filters were passed already
 */
function filtersOf(
  state: WaypointState,
  client: Client,
  ports: readonly ServicePort[],
  dialed: ServicePort | undefined,
  changedBy: string | undefined,
): readonly Demanded[] {
  const owner = dialed && namespaceOfKey(dialed.service);
  const demandedAt = ({ service, port }: ServicePort) =>
    state.requestSettings(service, port, client).demanded;
  const isUnchanged = changedBy === undefined || changedBy === owner;
  const passed = new Set(dialed && isUnchanged ? demandedAt(dialed).map(({ name }) => name) : []);
  const seen = new Set<string>();
  return ports.flatMap((one) =>
    demandedAt(one).flatMap((demanded) => {
      const { name } = demanded;
      if (seen.has(name) || (passed.has(name) && namespaceOfKey(one.service) === owner)) return none;
      seen.add(name);
      return [demanded];
    }),
  );
}

/** Another port of a Service that the request is sent to is left to the Service's owner, as by policies. */
const withoutServices = (ports: readonly ServicePort[], of: readonly ServicePort[]): ServicePort[] =>
  ports.filter(({ service }) => of.every((one) => one.service !== service));

const nameOf = ({ service, port }: ServicePort): string => `${service}:${port}`;

/** The port of the whole Service, of which a subset is a part. */
const portsOf = (sent: ServicePort | undefined): ServicePort[] =>
  sent ? [{ service: subsetOf(sent.service)?.service ?? sent.service, port: sent.port }] : [];

/** The Service ports that lead to the same port of the endpoint's workload. Another waypoint in front of it has its own filters. */
function portsOfEndpoint({ view }: WaypointState, { workload, target, via }: Endpoint): ServicePort[] {
  if (via) return [];
  const present = view.workload(workload.uid) ?? workload;
  return [...view.servicesOf(present)].flatMap(([service, ports]) =>
    ports
      .filter(({ targetPort }) => targetPort === target.port)
      .map(({ servicePort: port }) => ({ service, port })),
  );
}

interface Known {
  readonly version: number;
  readonly endpoints: readonly Endpoint[];
  readonly ports: readonly ServicePort[];
}
const known = new WeakMap<Cluster, Known>();

/** The same of all endpoints of a cluster, kept until an update. */
function portsBehind(state: WaypointState, cluster: Cluster): readonly ServicePort[] {
  const { version } = state;
  const { endpoints } = cluster;
  const found = known.get(cluster);
  if (found?.version === version && found.endpoints === endpoints) return found.ports;
  const all = new Map<string, ServicePort>();
  for (const endpoint of endpoints)
    for (const port of portsOfEndpoint(state, endpoint)) if (state.demands(port)) all.set(nameOf(port), port);
  const ports = [...all.values()];
  known.set(cluster, { version, endpoints, ports });
  return ports;
}
