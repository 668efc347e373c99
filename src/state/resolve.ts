/** Resolves a dialed address to an endpoint. Pure: the same view, client and random number give the same result. */
import type { IpAddress, SocketAddress } from '../model/address.js';
import { formatSocketAddress, isV6 } from '../model/address.js';
import type { SpiffeId } from '../model/identity.js';
import { neededWaypoint, refusedWaypointOf } from '../model/refused-waypoint.js';
import { claimRankOf, claimRanks } from '../model/ownership.js';
import type { Service } from '../model/service.js';
import type { Locality, ServiceKey, WaypointRef, Workload } from '../model/workload.js';
import { bucketOf, preferredOf } from './affinity.js';
import type { MeshView } from './store.js';

type Resolved =
  | { readonly kind: 'unknown' }
  | {
      readonly kind: 'none';
      readonly code: 'WEFT_NO_HEALTHY_ENDPOINT' | 'WEFT_NO_SUCH_SERVICE_PORT';
      readonly why: string;
    }
  | {
      readonly kind: 'endpoint';
      readonly workload: Workload;
      /** The address and port on which the workload listens. */
      readonly target: SocketAddress;
      readonly service?: Service;
    };

export interface Candidate {
  readonly workload: Workload;
  readonly target: SocketAddress;
}

/**
 * Endpoints eligible for a connection to `destination`, an address of the service. With a routing preference only the endpoints nearest
 * to this node are eligible.
 */
export const candidatesOf = (
  view: MeshView,
  service: Service,
  destination: SocketAddress,
  node: string,
): readonly Candidate[] => prioritiesOf(view, service, destination, node)[0] ?? [];

/**
 * The endpoints of a Service's port by priority, the nearest to this node first (Envoy: priority levels). No level is empty. Without a
 * routing preference there is one level; a strict preference has the nearest level alone.
 */
export function prioritiesOf(
  view: MeshView,
  service: Service,
  destination: SocketAddress,
  node: string,
): readonly (readonly Candidate[])[] {
  const port = service.ports.find(({ servicePort }) => servicePort === destination.port);
  if (!port) return [];
  const candidates: Candidate[] = [];
  for (const endpoint of view.endpointsOf(service.key)) {
    // A named target port may differ between workloads, so the workload's own mapping takes precedence.
    const own = endpoint.services
      .get(service.key)
      ?.find(({ servicePort }) => servicePort === destination.port);
    const ip = addressLike(endpoint.addresses, destination.ip);
    const targetPort = own?.targetPort || port.targetPort;
    if (ip === undefined || targetPort === 0) continue;
    const workload = ownerInPlaceOf(view, endpoint, ip);
    if (!workload.healthy && service.loadBalancing?.allowUnhealthy !== true) continue;
    candidates.push({ workload, target: { ip, port: targetPort } });
  }
  if (candidates.length === 0) return [];
  const { preference = [], mode = 'unspecified' } = service.loadBalancing ?? {};
  // Each address of such a Service is a destination of its own.
  if (mode === 'passthrough') {
    const dialed = candidates.filter(({ target }) => target.ip === destination.ip);
    return dialed.length > 0 ? [dialed] : [];
  }
  if (preference.length === 0) return [candidates];
  const here = { node, locality: view.localityOf(node) };
  /** Index: the number of leading scopes that the level's workloads share with this node. */
  const levels: Candidate[][] = Array.from({ length: preference.length + 1 }, () => []);
  for (const candidate of candidates)
    levels[sharedScopes(preference, candidate.workload, here)]?.push(candidate);
  const eligible = mode === 'strict' ? levels.slice(-1) : levels.reverse();
  return eligible.filter((level) => level.length > 0);
}

/**
 * The workload behind an endpoint. If a workload with a stronger claim owns the endpoint's address, that workload is returned: its
 * identity, waypoint and policies apply, not those that the endpoint states.
 */
function ownerInPlaceOf(view: MeshView, endpoint: Workload, ip: IpAddress): Workload {
  const rank = claimRankOf(endpoint.uid);
  if (rank === claimRanks.pod) return endpoint;
  // Looked up as for a client in the endpoint's namespace: a Workload of another namespace could claim any address, so it is ignored.
  const owner = view.workloadByAddress(ip, endpoint.namespace);
  // Pods on the host network share their node's address and do not own it.
  return owner && !owner.hostNetwork && claimRankOf(owner.uid) < rank ? owner : endpoint;
}

type Scope = NonNullable<Service['loadBalancing']>['preference'][number];

/** Number of leading scopes that the workload shares with this node (istio.workload.LoadBalancing). */
function sharedScopes(
  scopes: readonly Scope[],
  workload: Workload,
  here: { readonly node: string; readonly locality: Locality | undefined },
): number {
  const same = (scope: Scope): boolean => {
    switch (scope) {
      case 'node':
        return workload.node === here.node;
      case 'region':
      case 'zone':
      case 'subzone':
        return (here.locality?.[scope] ?? '') !== '' && workload.locality?.[scope] === here.locality?.[scope];
      // Weft knows a single network and a single cluster.
      case 'cluster':
      case 'network':
        return true;
    }
  };
  const first = scopes.findIndex((scope) => !same(scope));
  return first < 0 ? scopes.length : first;
}

/** The client of a connection: its address, and the namespace whose view of addresses applies. */
interface Client {
  readonly ip: IpAddress;
  readonly namespace: string;
}

/** The endpoints of a Service among which `resolve` chooses, all with the same probability. */
export function choicesOf(
  view: MeshView,
  service: Service,
  destination: SocketAddress,
  client: Client,
  node: string,
  picked?: SocketAddress,
  avoid?: ReadonlySet<string>,
): readonly Candidate[] {
  const all = candidatesOf(view, service, destination, node);
  const pool = avoid ? all.filter(({ target }) => !avoid.has(formatSocketAddress(target))) : all;
  const kept = pool.find(({ target }) => target.ip === picked?.ip && target.port === picked.port);
  if (kept) return [kept];
  if (!service.sessionAffinity) return pool;
  const preferred = preferredOf(pool, ({ target }) => target, bucketOf(client.ip));
  return preferred ? [preferred] : [];
}

/**
 * Chooses the endpoint for a connection.
 * @param random in [0, 1)
 * @param picked the endpoint already chosen at connect(); kept if it is still eligible
 * @param avoid endpoints (address:port) that were just unreachable
 */
export function resolve(
  view: MeshView,
  destination: SocketAddress,
  client: Client,
  node: string,
  random: number,
  picked?: SocketAddress,
  avoid?: ReadonlySet<string>,
): Resolved {
  const service = view.serviceByAddress(destination.ip, client.namespace);
  if (!service) {
    const workload = view.workloadByAddress(destination.ip, client.namespace);
    return workload ? { kind: 'endpoint', workload, target: destination } : { kind: 'unknown' };
  }
  const port = service.ports.find(({ servicePort }) => servicePort === destination.port);
  if (!port) {
    return {
      kind: 'none',
      code: 'WEFT_NO_SUCH_SERVICE_PORT',
      why: `service ${service.key} has no port ${destination.port}`,
    };
  }
  const choices = choicesOf(view, service, destination, client, node, picked, avoid);
  const chosen = choices[Math.floor(random * choices.length)];
  if (!chosen) {
    return {
      kind: 'none',
      code: 'WEFT_NO_HEALTHY_ENDPOINT',
      why: `service ${service.key} has no healthy endpoint for port ${destination.port}`,
    };
  }
  return { kind: 'endpoint', ...chosen, service };
}

/** The first address of the same family as the dialed one, so that both ends see one family; otherwise the first address. */
function addressLike(addresses: readonly IpAddress[], like: IpAddress): IpAddress | undefined {
  return addresses.find((ip) => isV6(ip) === isV6(like)) ?? addresses[0];
}

/**
 * A workload and address behind a waypoint reference; undefined if no replica exists or none is healthy.
 * @param random in [0, 1)
 * @param avoid replicas (address:port) that were just unreachable
 */
export function resolveWaypoint(
  view: MeshView,
  reference: WaypointRef,
  random: number,
  avoid?: ReadonlySet<string>,
): { readonly workload: Workload; readonly address: SocketAddress } | undefined {
  let ready: readonly Workload[];
  if (reference.kind === 'hostname') ready = replicasOf(view, reference.service);
  else {
    const service = view.serviceByAddress(reference.ip, undefined);
    const workload = view.workloadByAddress(reference.ip, undefined);
    ready = service ? view.endpointsOf(service.key) : workload ? [workload] : [];
  }
  ready = ready.filter(
    ({ healthy, addresses: [ip] }) =>
      healthy &&
      ip !== undefined &&
      avoid?.has(formatSocketAddress({ ip, port: reference.hbonePort })) !== true,
  );
  const workload = ready[Math.floor(random * ready.length)];
  const ip = workload?.addresses[0];
  return workload && ip ? { workload, address: { ip, port: reference.hbonePort } } : undefined;
}

/**
 * Error code and reason for a waypoint without a usable replica: none is there, or its Gateway does not admit the namespace of `served`.
 * @param served the name of what uses the waypoint, for the reason
 */
export function waypointMissing(
  served: string,
  reference: WaypointRef,
): { readonly code: string; readonly why: string } {
  const refused = refusedWaypointOf(reference);
  if (refused?.endsWith(`/${neededWaypoint}`) === true)
    return {
      code: 'WEFT_WAYPOINT_MISSING',
      why: `a TrafficPolicy of ${served} demands external authorization, and the Service has no waypoint`,
    };
  return refused === undefined
    ? { code: 'WEFT_WAYPOINT_MISSING', why: `the waypoint of ${served} has no healthy replica` }
    : {
        code: 'WEFT_WAYPOINT_NOT_ALLOWED',
        why: `${served} names the waypoint ${refused}, whose Gateway does not admit its namespace`,
      };
}

/**
 * The waypoints in front of a workload's port: the workload's own, and those of the Services that front it. A pod on the host network has
 * none: its address is the node's, which other pods share. Traffic to its Service still goes through that Service's waypoint.
 */
export function waypointsOf(view: MeshView, workload: Workload, port: number): WaypointRef[] {
  if (workload.hostNetwork) return [];
  const found = [...view.servicesOf(workload)].flatMap(([key, ports]) => {
    const service = view.service(key);
    const served =
      ports.some(({ targetPort }) => targetPort === port) ||
      service?.ports.some(({ targetPort }) => targetPort === port);
    return served && service?.waypoint ? [service.waypoint] : [];
  });
  return workload.waypoint ? [workload.waypoint, ...found] : found;
}

/**
 * Replicas of a waypoint: endpoints of its Service that terminate HBONE natively and whose service account has the waypoint's name. Other
 * pods that merely carry the waypoint's labels are excluded.
 */
function replicasOf(view: MeshView, key: ServiceKey): readonly Workload[] {
  const [namespace = '', hostname = ''] = key.split('/');
  const [name = ''] = hostname.split('.');
  return view
    .endpointsOf(key)
    .filter((one) => one.nativeTunnel === true && one.namespace === namespace && one.serviceAccount === name);
}

/** Identities that are accepted as the waypoint of a reference. */
export function identitiesOf(view: MeshView, reference: WaypointRef): SpiffeId[] {
  if (reference.kind === 'hostname')
    return replicasOf(view, reference.service).map(({ identity }) => identity);
  const service = view.serviceByAddress(reference.ip, undefined);
  const one = view.workloadByAddress(reference.ip, undefined);
  return service ? view.endpointsOf(service.key).map(({ identity }) => identity) : one ? [one.identity] : [];
}
