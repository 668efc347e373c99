/** Which endpoint a dialled address leads to. Pure: the same view, attributes and random number give the same answer. */
import type { IpAddress, SocketAddress } from '../model/address.js';
import { formatSocketAddress, isV6 } from '../model/address.js';
import type { SpiffeId } from '../model/identity.js';
import { refusedWaypointOf } from '../model/refused-waypoint.js';
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
      /** Where the workload listens. */
      readonly target: SocketAddress;
      readonly service?: Service;
    };

export interface Candidate {
  readonly workload: Workload;
  readonly target: SocketAddress;
}

/** The endpoints among which one is chosen for a service's address: by preference only those nearest to this node. */
export function candidatesOf(
  view: MeshView,
  service: Service,
  destination: SocketAddress,
  node: string,
): readonly Candidate[] {
  const port = service.ports.find(({ servicePort }) => servicePort === destination.port);
  if (!port) return [];
  const candidates: Candidate[] = [];
  for (const endpoint of view.endpointsOf(service.key)) {
    // A named target port may differ from workload to workload, so its own mapping counts.
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
  const { preference = [], mode = 'unspecified' } = service.loadBalancing ?? {};
  if (preference.length === 0 || mode === 'passthrough') return candidates;
  const here = { node, locality: view.localityOf(node) };
  const nearness = candidates.map(({ workload }) => sharedScopes(preference, workload, here));
  const nearest = mode === 'strict' ? preference.length : Math.max(0, ...nearness);
  return candidates.filter((_, i) => nearness[i] === nearest);
}

/**
 * Whom an endpoint leads to: where somebody with a stronger claim owns its address, then that one's identity, waypoint and policies
 * count, whatever the endpoint says of itself.
 */
function ownerInPlaceOf(view: MeshView, endpoint: Workload, ip: IpAddress): Workload {
  const rank = claimRankOf(endpoint.uid);
  if (rank === claimRanks.pod) return endpoint;
  // As for a client of the Service's namespace: another namespace's Workload, which could claim any address, is no owner here.
  const owner = view.workloadByAddress(ip, endpoint.namespace);
  // Pods on the host network share the address of their node, which is none of theirs.
  return owner && !owner.hostNetwork && claimRankOf(owner.uid) < rank ? owner : endpoint;
}

type Scope = NonNullable<Service['loadBalancing']>['preference'][number];

/** How many of the scopes, from the first on, the workload shares with this node (istio.workload.LoadBalancing). */
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
      // One network and one cluster is all there is.
      case 'cluster':
      case 'network':
        return true;
    }
  };
  const first = scopes.findIndex((scope) => !same(scope));
  return first < 0 ? scopes.length : first;
}

/** Whom a connection is of: its address, and the namespace that is asked on whose behalf. */
interface Client {
  readonly ip: IpAddress;
  readonly namespace: string;
}

/**
 * `client`: whom the connection is of; `random` in [0, 1); `picked`: the endpoint that connect() chose already, kept where it
 * is still one; `avoid`: endpoints (address:port) that just could not be reached.
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
  const all = candidatesOf(view, service, destination, node);
  const pool = avoid ? all.filter(({ target }) => !avoid.has(formatSocketAddress(target))) : all;
  const chosen =
    pool.find(({ target }) => target.ip === picked?.ip && target.port === picked.port) ??
    (service.sessionAffinity
      ? preferredOf(pool, ({ target }) => target, bucketOf(client.ip))
      : pool[Math.floor(random * pool.length)]);
  if (!chosen) {
    return {
      kind: 'none',
      code: 'WEFT_NO_HEALTHY_ENDPOINT',
      why: `service ${service.key} has no healthy endpoint for port ${destination.port}`,
    };
  }
  return { kind: 'endpoint', ...chosen, service };
}

/** An address of the dialled one's family, so that both ends see one family; any other where there is none. */
function addressLike(addresses: readonly IpAddress[], like: IpAddress): IpAddress | undefined {
  return addresses.find((ip) => isV6(ip) === isV6(like)) ?? addresses[0];
}

/**
 * The workload and address behind a waypoint reference; undefined where it is not there or not healthy. `avoid`: replicas
 * (address:port) that just could not be reached.
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

/** Why nobody answers for a waypoint: nobody is there, or its Gateway does not admit what is named `served`. */
export function waypointMissing(
  served: string,
  reference: WaypointRef,
): { readonly code: string; readonly why: string } {
  const refused = refusedWaypointOf(reference);
  return refused === undefined
    ? { code: 'WEFT_WAYPOINT_MISSING', why: `${served} is served by a waypoint that is not there` }
    : {
        code: 'WEFT_WAYPOINT_NOT_ALLOWED',
        why: `${served} names the waypoint ${refused}, whose Gateway does not admit its namespace`,
      };
}

/**
 * The waypoints that serve a workload's port: its own, and those of the Services that stand before it. None serves a pod on the host
 * network by its address, which is the node's and which others there share; its Service's waypoint serves what asks for that Service.
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
 * What answers for a waypoint: endpoints of its Service that speak tunnels themselves, under the account that is named as it is. Any other
 * pod with its labels is none.
 */
function replicasOf(view: MeshView, key: ServiceKey): readonly Workload[] {
  const [namespace = '', hostname = ''] = key.split('/');
  const [name = ''] = hostname.split('.');
  return view
    .endpointsOf(key)
    .filter((one) => one.nativeTunnel === true && one.namespace === namespace && one.serviceAccount === name);
}

/** Whom a peer has to be to be the waypoint that a reference names. */
export function identitiesOf(view: MeshView, reference: WaypointRef): SpiffeId[] {
  if (reference.kind === 'hostname')
    return replicasOf(view, reference.service).map(({ identity }) => identity);
  const service = view.serviceByAddress(reference.ip, undefined);
  const one = view.workloadByAddress(reference.ip, undefined);
  return service ? view.endpointsOf(service.key).map(({ identity }) => identity) : one ? [one.identity] : [];
}
