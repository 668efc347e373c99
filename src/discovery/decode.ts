/** Decoders of what comes over discovery: a value or the errors, never a throw. */
import { errorText, type Decoded } from '../base/errors.js';
import { ipFromBytes, parseCidr } from '../model/address.js';
import { parseSpiffeId, parseTrustDomain, spiffeIdOf } from '../model/identity.js';
import type { NodePod, UncapturedPod, UncapturedReason } from '../model/node-pod.js';
import type { Service } from '../model/service.js';
import type {
  AppProtocol,
  PortMapping,
  ServiceKey,
  WaypointRef,
  Workload,
  WorkloadUid,
} from '../model/workload.js';
import { affinityExtension, affinityType, scopeExtension, scopeType } from './types.js';
import * as pb from './gen/workload.js';
import * as pbWeft from './gen/weft.js';
import { unknownFields, type ReadResult, type Shape } from './reading.js';

export { decodeAuthorization, readAuthorization } from './decode-policy.js';
export { decodeRoute, readRoute } from './decode-route.js';

export type Address =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'service'; readonly service: Service };

function attempt<T>(decode: () => T): Decoded<T> {
  try {
    return { ok: true, value: decode() };
  } catch (error) {
    return { ok: false, errors: [errorText(error)] };
  }
}

function need(value: string, field: string): string {
  if (value === '') throw new Error(`${field} is empty`);
  return value;
}

const appProtocols: readonly AppProtocol[] = ['unknown', 'http1', 'http2', 'grpc', 'tcp', 'tls'];

function port(mapping: pb.Port): PortMapping {
  if (mapping.servicePort > 65535 || mapping.targetPort > 65535)
    throw new Error(`port ${mapping.servicePort} is out of range`);
  return {
    servicePort: mapping.servicePort,
    targetPort: mapping.targetPort,
    // A protocol of a later version is bytes to us.
    appProtocol: appProtocols[mapping.appProtocol] ?? 'unknown',
  };
}

function waypoint(address: pb.GatewayAddress | undefined): { waypoint: WaypointRef } | Record<string, never> {
  if (!address) return {};
  // A waypoint of an unknown kind is one: without it the way would be open.
  if (!address.destination) throw new Error('waypoint of an unknown kind');
  const hbonePort = address.hboneMtlsPort || 15008;
  if (address.destination.$case === 'hostname') {
    const { namespace, hostname } = address.destination.value;
    return {
      waypoint: {
        kind: 'hostname',
        service: `${need(namespace, 'waypoint namespace')}/${hostname}` as ServiceKey,
        hbonePort,
      },
    };
  }
  const { network, address: bytes } = address.destination.value;
  return { waypoint: { kind: 'address', network, ip: ipFromBytes(bytes), hbonePort } };
}

/** A protocol of a later version is not plaintext. */
function tunnel(protocol: pb.TunnelProtocol): Workload['tunnel'] {
  if (protocol === pb.TunnelProtocol.HBONE) return 'hbone';
  if (protocol === pb.TunnelProtocol.NONE) return 'none';
  throw new Error(`tunnel protocol ${protocol} is not known`);
}
function hostNetwork(mode: pb.NetworkMode): boolean {
  if (mode === pb.NetworkMode.HOST_NETWORK) return true;
  if (mode === pb.NetworkMode.STANDARD) return false;
  throw new Error(`network mode ${mode} is not known`);
}

/** Throws where there is one that this version cannot read: for whom the addresses count is then not known. */
function scope(extensions: readonly pb.Extension[]): pbWeft.Scope | undefined {
  const found = extensions.find(({ name }) => name === scopeExtension);
  if (!found) return undefined;
  if (found.config?.typeUrl !== scopeType)
    throw new Error(`${scopeExtension} is of type ${found.config?.typeUrl}`);
  return pbWeft.Scope.decode(found.config.value);
}

const workloadTypes: readonly Workload['workloadType'][] = ['deployment', 'cronjob', 'pod', 'job'];

function workload(message: pb.Workload): Workload {
  const scoped = scope(message.extensions);
  const trustDomain = parseTrustDomain(message.trustDomain || 'cluster.local');
  const serviceAccount = message.serviceAccount || 'default';
  const namespace = need(message.namespace, 'namespace');
  return {
    uid: need(message.uid, 'uid') as WorkloadUid,
    name: message.name,
    namespace,
    identity: spiffeIdOf({ trustDomain, namespace, serviceAccount }),
    serviceAccount,
    addresses: (scoped?.namespaceOnly ? scoped : message).addresses.map((bytes) => ipFromBytes(bytes)),
    network: message.network,
    node: message.node,
    cluster: message.clusterId || 'Kubernetes',
    tunnel: tunnel(message.tunnelProtocol),
    ...waypoint(message.waypoint),
    policies: message.authorizationPolicies,
    healthy: message.status === pb.WorkloadStatus.HEALTHY,
    ...(message.nativeTunnel ? { nativeTunnel: true } : {}),
    hostNetwork: hostNetwork(message.networkMode),
    services: new Map(
      Object.entries(message.services).map(([key, list]) => [key as ServiceKey, list.ports.map(port)]),
    ),
    workloadName: message.workloadName || message.name,
    workloadType: workloadTypes[message.workloadType] ?? 'pod',
    canonicalName: message.canonicalName,
    canonicalRevision: message.canonicalRevision,
    ...(message.locality ? { locality: message.locality } : {}),
    ...(scoped?.namespaceOnly ? { scope: 'namespace' as const } : {}),
  };
}

type Balancing = NonNullable<Service['loadBalancing']>;
const scopes: readonly (Balancing['preference'][number] | undefined)[] = [
  undefined,
  'region',
  'zone',
  'subzone',
  'node',
  'cluster',
  'network',
];
const modes: readonly Balancing['mode'][] = ['unspecified', 'strict', 'failover', 'passthrough'];

function affinity(extensions: readonly pb.Extension[]): Pick<Service, 'sessionAffinity'> {
  const config = extensions.find(({ name }) => name === affinityExtension)?.config;
  if (config?.typeUrl !== affinityType) return {};
  return pbWeft.SessionAffinity.decode(config.value).clientIp ? { sessionAffinity: 'client-ip' } : {};
}

function service(message: pb.Service): Service {
  const balancing = message.loadBalancing;
  const scoped = scope(message.extensions);
  return {
    key: `${need(message.namespace, 'namespace')}/${need(message.hostname, 'hostname')}` as ServiceKey,
    name: message.name,
    namespace: message.namespace,
    hostname: message.hostname,
    addresses: scoped?.namespaceOnly
      ? scoped.addresses.map((address) => ({ network: '', ip: ipFromBytes(address) }))
      : message.addresses.map(({ network, address }) => ({ network, ip: ipFromBytes(address) })),
    ports: message.ports.map(port),
    subjectAltNames: message.subjectAltNames.map((name) =>
      parseSpiffeId(name.startsWith('spiffe://') ? name : `spiffe://${name}`),
    ),
    ...waypoint(message.waypoint),
    ...affinity(message.extensions),
    ...(scoped?.namespaceOnly ? { scope: 'namespace' as const } : {}),
    ...(balancing
      ? {
          loadBalancing: {
            preference: balancing.routingPreference.flatMap((scope) => scopes[scope] ?? []),
            mode: modes[balancing.mode] ?? 'unspecified',
            allowUnhealthy: balancing.healthPolicy === pb.LoadBalancing_HealthPolicy.ALLOW_ALL,
          },
        }
      : {}),
  };
}

const addressOf = (bytes: Uint8Array): Address => {
  const { type } = pb.Address.decode(bytes);
  if (!type) throw new Error('neither workload nor service');
  return type.$case === 'workload'
    ? { kind: 'workload', workload: workload(type.value) }
    : { kind: 'service', service: service(type.value) };
};

/** A workload or Service that is understood as a whole. */
export function decodeAddress(bytes: Uint8Array): Decoded<Address> {
  return attempt(() => addressOf(bytes));
}

/** A waypoint that nothing can be: no Namespace has this name. Whatever names it is closed (WEFT_WAYPOINT_MISSING). */
export const closedWaypoint: WaypointRef = {
  kind: 'hostname',
  service: '-/-' as ServiceKey,
  hbonePort: 15008,
};

const readable = <T, U>(list: readonly T[], read: (one: T) => U): U[] =>
  list.flatMap((one) => {
    const decoded = attempt(() => read(one));
    return decoded.ok ? [decoded.value] : [];
  });

/** What of it can be read, reached by nobody. */
function closedWorkload(message: pb.Workload): Workload | undefined {
  // Never in the mesh: its addresses are the node's own, which stay as they were.
  if (message.networkMode === pb.NetworkMode.HOST_NETWORK || message.uid === '') return undefined;
  const { waypoint: _waypoint, ...rest } = message;
  const known = attempt(() =>
    workload({
      ...rest,
      waypoint: undefined,
      addresses: message.addresses.filter((bytes) => attempt(() => ipFromBytes(bytes)).ok),
      namespace: message.namespace || '-',
      trustDomain: attempt(() => parseTrustDomain(message.trustDomain)).ok ? message.trustDomain : '',
      tunnelProtocol: pb.TunnelProtocol.HBONE,
      networkMode: pb.NetworkMode.STANDARD,
      status: pb.WorkloadStatus.UNHEALTHY,
      services: Object.fromEntries(
        Object.entries(message.services).map(([key, { ports }]) => [
          key,
          { ports: ports.filter((one) => attempt(() => port(one)).ok) },
        ]),
      ),
    }),
  );
  return known.ok ? { ...known.value, waypoint: closedWaypoint } : undefined;
}

function closedService(message: pb.Service): Service | undefined {
  const { namespace, hostname, name } = message;
  if (namespace === '' || hostname === '') return undefined;
  return {
    key: `${namespace}/${hostname}` as ServiceKey,
    name,
    namespace,
    hostname,
    addresses: readable(message.addresses, ({ network, address }) => ({ network, ip: ipFromBytes(address) })),
    ports: readable(message.ports, port),
    subjectAltNames: [],
    waypoint: closedWaypoint,
  };
}

/**
 * A workload or Service. One that is not understood is reached by nobody through its readable addresses; where not even these can be
 * read, what was known before stays.
 */
export function readAddress(_name: string, bytes: Uint8Array): ReadResult<Address> {
  const decoded = decodeAddress(bytes);
  if (decoded.ok) return { value: decoded.value, problems: [] };
  const message = attempt(() => pb.Address.decode(bytes).type);
  if (!message.ok || !message.value) return { value: undefined, problems: decoded.errors };
  if (message.value.$case === 'workload') {
    const closed = closedWorkload(message.value.value);
    return { value: closed && { kind: 'workload', workload: closed }, problems: decoded.errors };
  }
  const closed = closedService(message.value.value);
  return { value: closed && { kind: 'service', service: closed }, problems: decoded.errors };
}

/** By field number, as in proto/weft.proto. */
const nodePodShape: Shape = Object.fromEntries(Array.from({ length: 18 }, (_, i) => [i + 1, true as const]));

export function decodeNodePod(bytes: Uint8Array): Decoded<NodePod> {
  return attempt(() => {
    const m = pbWeft.NodePod.decode(bytes);
    // It may restrict what the pod is let do: the pod stays as it was, a new one waits.
    const [unknown] = unknownFields(bytes, nodePodShape);
    if (unknown !== undefined) throw new Error(`field ${unknown} is not known`);
    return {
      uid: need(m.uid, 'uid') as WorkloadUid,
      name: need(m.name, 'name'),
      namespace: need(m.namespace, 'namespace'),
      identity: parseSpiffeId(m.identity),
      addresses: m.addresses.map((address) => ipFromBytes(address)),
      netns: m.netns,
      podUid: m.podUid,
      probePorts: m.probePorts,
      excludeOutboundPorts: m.excludeOutboundPorts,
      excludeOutboundCidrs: m.excludeOutboundCidrs.map(parseCidr),
      excludeInboundPorts: m.excludeInboundPorts,
      outboundUnknown: m.outboundUnknownRefused ? 'refuse' : 'allow',
      agentDown: m.plaintextWithoutAgent ? 'plaintext' : 'refuse',
      cutPreexisting: m.cutPreexisting,
      rootsVersion: m.rootsVersion,
      sameNode: m.sameNodeEncrypted ? 'encrypted' : 'kernel',
      unsplicedPorts: m.unsplicedPorts,
      splice: m.splice,
    };
  });
}

export function decodeUncapturedPod(bytes: Uint8Array): Decoded<UncapturedPod> {
  return attempt(() => {
    const m = pbWeft.UncapturedPod.decode(bytes);
    return {
      uid: need(m.uid, 'uid') as WorkloadUid,
      name: need(m.name, 'name'),
      namespace: need(m.namespace, 'namespace'),
      podUid: m.podUid,
      // A reason that a newer control plane gives is shown as it is.
      reason: need(m.reason, 'reason') as UncapturedReason,
    };
  });
}

export function decodeTrust(bytes: Uint8Array): Decoded<string> {
  return attempt(() => need(pbWeft.Trust.decode(bytes).version, 'version'));
}

export function decodeEnrolledNamespace(bytes: Uint8Array): Decoded<string> {
  return attempt(() => need(pbWeft.EnrolledNamespace.decode(bytes).name, 'name'));
}
