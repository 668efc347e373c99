/**
 * Codec of workloads and Services (istio.workload.Address): the control plane encodes, its clients decode. Fields with the same name and
 * type in the generated types are copied; this file handles the fields that are checked or have a type of the model.
 */
import { errorText, type Decoded } from '../../base/errors.js';
import { ipFromBytes } from '../../model/address.js';
import { parseSpiffeId, parseTrustDomain, spiffeIdOf, workloadIdentityOf } from '../../model/identity.js';
import type { Service } from '../../model/service.js';
import type {
  AppProtocol,
  PortMapping,
  ServiceKey,
  WaypointRef,
  Workload,
  WorkloadUid,
} from '../../model/workload.js';
import * as pbWeft from '../gen/weft.js';
import * as pb from '../gen/workload.js';
import { affinityExtension, affinityType, scopeExtension, scopeType } from '../types.js';
import { attempt, bytesOf, namesOf, need, readable, strict, type ReadResult } from './decoding.js';

export type Address =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'service'; readonly service: Service };

type Balancing = NonNullable<Service['loadBalancing']>;

const appProtocols: Readonly<Record<AppProtocol, pb.AppProtocol>> = {
  unknown: pb.AppProtocol.UNKNOWN,
  http1: pb.AppProtocol.HTTP11,
  http2: pb.AppProtocol.HTTP2,
  grpc: pb.AppProtocol.GRPC,
  tcp: pb.AppProtocol.TCP,
  tls: pb.AppProtocol.TLS,
};
const workloadTypes: Readonly<Record<Workload['workloadType'], pb.WorkloadType>> = {
  deployment: pb.WorkloadType.DEPLOYMENT,
  cronjob: pb.WorkloadType.CRONJOB,
  pod: pb.WorkloadType.POD,
  job: pb.WorkloadType.JOB,
};
const balancingModes: Readonly<Record<Balancing['mode'], pb.LoadBalancing_Mode>> = {
  unspecified: pb.LoadBalancing_Mode.UNSPECIFIED_MODE,
  strict: pb.LoadBalancing_Mode.STRICT,
  failover: pb.LoadBalancing_Mode.FAILOVER,
  passthrough: pb.LoadBalancing_Mode.PASSTHROUGH,
};
const balancingScopes: Readonly<Record<Balancing['preference'][number], pb.LoadBalancing_Scope>> = {
  region: pb.LoadBalancing_Scope.REGION,
  zone: pb.LoadBalancing_Scope.ZONE,
  subzone: pb.LoadBalancing_Scope.SUBZONE,
  node: pb.LoadBalancing_Scope.NODE,
  cluster: pb.LoadBalancing_Scope.CLUSTER,
  network: pb.LoadBalancing_Scope.NETWORK,
};
const appProtocolNames = namesOf(appProtocols);
const workloadTypeNames = namesOf(workloadTypes);
const balancingModeNames = namesOf(balancingModes);
const balancingScopeNames = namesOf(balancingScopes);

const encodePort = (port: PortMapping): pb.Port => ({
  ...port,
  appProtocol: appProtocols[port.appProtocol],
});

function decodePort({ servicePort, targetPort, appProtocol }: pb.Port): PortMapping {
  if (servicePort > 65535 || targetPort > 65535) throw new Error(`port ${servicePort} is out of range`);
  // An application protocol of a newer version is treated as plain bytes.
  return { servicePort, targetPort, appProtocol: appProtocolNames.get(appProtocol) ?? 'unknown' };
}

function encodeWaypoint(reference: WaypointRef | undefined): pb.GatewayAddress | undefined {
  if (!reference) return undefined;
  const hboneMtlsPort = reference.hbonePort;
  if (reference.kind === 'address') {
    const value = { network: reference.network, address: bytesOf(reference.ip), length: undefined };
    return { destination: { $case: 'address', value }, hboneMtlsPort };
  }
  const at = reference.service.indexOf('/');
  const value = { namespace: reference.service.slice(0, at), hostname: reference.service.slice(at + 1) };
  return { destination: { $case: 'hostname', value }, hboneMtlsPort };
}

function decodeWaypoint(address: pb.GatewayAddress | undefined): { readonly waypoint?: WaypointRef } {
  if (!address) return {};
  // A waypoint of an unknown kind must not be ignored: traffic would bypass it.
  if (!address.destination) throw new Error('waypoint of an unknown kind');
  const hbonePort = address.hboneMtlsPort || 15008;
  if (address.destination.$case === 'hostname') {
    const { namespace, hostname } = address.destination.value;
    const service = `${need(namespace, 'waypoint namespace')}/${hostname}` as ServiceKey;
    return { waypoint: { kind: 'hostname', service, hbonePort } };
  }
  const { network, address: bytes } = address.destination.value;
  return { waypoint: { kind: 'address', network, ip: ipFromBytes(bytes), hbonePort } };
}

const extension = (name: string, typeUrl: string, value: Uint8Array): pb.Extension => ({
  name,
  config: { typeUrl, value: Buffer.from(value) },
});

/**
 * Addresses that are valid only for clients of one namespace. Only the extension contains them: a reader that does not know scopes would
 * send connections of all clients there.
 */
const encodeScope = (addresses: Workload['addresses']): pb.Extension =>
  extension(
    scopeExtension,
    scopeType,
    pbWeft.Scope.encode({ namespaceOnly: true, addresses: addresses.map(bytesOf) }).finish(),
  );

/** Throws if the scope extension cannot be read: it is then unknown for which clients the addresses are valid. */
function decodeScope(extensions: readonly pb.Extension[]): pbWeft.Scope | undefined {
  const found = extensions.find(({ name }) => name === scopeExtension);
  if (!found) return undefined;
  if (found.config?.typeUrl !== scopeType)
    throw new Error(`${scopeExtension} is of type ${found.config?.typeUrl}`);
  return pbWeft.Scope.decode(found.config.value);
}

const encodeAffinity = (): pb.Extension =>
  extension(affinityExtension, affinityType, pbWeft.SessionAffinity.encode({ clientIp: true }).finish());

function decodeAffinity(extensions: readonly pb.Extension[]): Pick<Service, 'sessionAffinity'> {
  const config = extensions.find(({ name }) => name === affinityExtension)?.config;
  if (config?.typeUrl !== affinityType) return {};
  return pbWeft.SessionAffinity.decode(config.value).clientIp ? { sessionAffinity: 'client-ip' } : {};
}

export function encodeWorkload(w: Workload): Uint8Array {
  const isScoped = w.scope === 'namespace';
  const value = pb.Workload.fromPartial({
    ...w,
    addresses: isScoped ? [] : w.addresses.map(bytesOf),
    tunnelProtocol: w.tunnel === 'hbone' ? pb.TunnelProtocol.HBONE : pb.TunnelProtocol.NONE,
    trustDomain: workloadIdentityOf(w.identity)?.trustDomain ?? '',
    waypoint: encodeWaypoint(w.waypoint),
    workloadType: workloadTypes[w.workloadType],
    authorizationPolicies: w.policies,
    status: w.healthy ? pb.WorkloadStatus.HEALTHY : pb.WorkloadStatus.UNHEALTHY,
    clusterId: w.cluster,
    services: Object.fromEntries(
      [...w.services].map(([key, ports]) => [key, { ports: ports.map(encodePort) }]),
    ),
    networkMode: w.hostNetwork ? pb.NetworkMode.HOST_NETWORK : pb.NetworkMode.STANDARD,
    capacity: w.weight,
    extensions: isScoped ? [encodeScope(w.addresses)] : [],
  });
  return pb.Address.encode({ type: { $case: 'workload', value } }).finish();
}

/** Throws for a tunnel protocol of a newer version: it must not be treated as plaintext. */
function decodeTunnel(protocol: pb.TunnelProtocol): Workload['tunnel'] {
  if (protocol === pb.TunnelProtocol.HBONE) return 'hbone';
  if (protocol === pb.TunnelProtocol.NONE) return 'none';
  throw new Error(`tunnel protocol ${protocol} is not known`);
}
function decodeHostNetwork(mode: pb.NetworkMode): boolean {
  if (mode === pb.NetworkMode.HOST_NETWORK) return true;
  if (mode === pb.NetworkMode.STANDARD) return false;
  throw new Error(`network mode ${mode} is not known`);
}

/** Balancers need weights of a bounded ratio. An endpoint without requests is no endpoint, so 0 counts as 1. */
const weightMax = 1000;
const weightOf = (capacity: number): number => Math.min(weightMax, Math.max(1, capacity));

function decodeWorkload(message: pb.Workload): Workload {
  const scope = decodeScope(message.extensions);
  const trustDomain = parseTrustDomain(message.trustDomain || 'cluster.local');
  const serviceAccount = message.serviceAccount || 'default';
  const namespace = need(message.namespace, 'namespace');
  const { name, network, node, canonicalName, canonicalRevision } = message;
  return {
    ...{ name, namespace, serviceAccount, network, node, canonicalName, canonicalRevision },
    uid: need(message.uid, 'uid') as WorkloadUid,
    identity: spiffeIdOf({ trustDomain, namespace, serviceAccount }),
    addresses: (scope?.namespaceOnly ? scope : message).addresses.map(ipFromBytes),
    cluster: message.clusterId || 'Kubernetes',
    tunnel: decodeTunnel(message.tunnelProtocol),
    ...decodeWaypoint(message.waypoint),
    policies: message.authorizationPolicies,
    healthy: message.status === pb.WorkloadStatus.HEALTHY,
    ...(message.nativeTunnel ? { nativeTunnel: true } : {}),
    hostNetwork: decodeHostNetwork(message.networkMode),
    services: new Map(
      Object.entries(message.services).map(([key, { ports }]) => [key as ServiceKey, ports.map(decodePort)]),
    ),
    workloadName: message.workloadName || name,
    workloadType: workloadTypeNames.get(message.workloadType) ?? 'pod',
    ...(message.locality ? { locality: message.locality } : {}),
    ...(message.capacity === undefined ? {} : { weight: weightOf(message.capacity) }),
    ...(scope?.namespaceOnly ? { scope: 'namespace' as const } : {}),
  };
}

export function encodeService(s: Service): Uint8Array {
  const isScoped = s.scope === 'namespace';
  const value = pb.Service.fromPartial({
    ...s,
    addresses: isScoped ? [] : s.addresses.map(({ network, ip }) => ({ network, address: bytesOf(ip) })),
    ports: s.ports.map(encodePort),
    waypoint: encodeWaypoint(s.waypoint),
    loadBalancing: s.loadBalancing && {
      routingPreference: s.loadBalancing.preference.map((scope) => balancingScopes[scope]),
      mode: balancingModes[s.loadBalancing.mode],
      healthPolicy: s.loadBalancing.allowUnhealthy
        ? pb.LoadBalancing_HealthPolicy.ALLOW_ALL
        : pb.LoadBalancing_HealthPolicy.ONLY_HEALTHY,
    },
    extensions: [
      ...(s.sessionAffinity ? [encodeAffinity()] : []),
      ...(isScoped ? [encodeScope(s.addresses.map(({ ip }) => ip))] : []),
    ],
    canonical: true,
  });
  return pb.Address.encode({ type: { $case: 'service', value } }).finish();
}

const decodeNetworkAddress = ({ network, address }: pb.NetworkAddress): Service['addresses'][number] => ({
  network,
  ip: ipFromBytes(address),
});

function decodeService(message: pb.Service): Service {
  const scope = decodeScope(message.extensions);
  const { name, namespace, hostname, loadBalancing } = message;
  return {
    ...{ name, namespace, hostname },
    key: `${need(namespace, 'namespace')}/${need(hostname, 'hostname')}` as ServiceKey,
    addresses: scope?.namespaceOnly
      ? scope.addresses.map((address) => ({ network: '', ip: ipFromBytes(address) }))
      : message.addresses.map(decodeNetworkAddress),
    ports: message.ports.map(decodePort),
    subjectAltNames: message.subjectAltNames.map((san) =>
      parseSpiffeId(san.startsWith('spiffe://') ? san : `spiffe://${san}`),
    ),
    ...decodeWaypoint(message.waypoint),
    ...decodeAffinity(message.extensions),
    ...(scope?.namespaceOnly ? { scope: 'namespace' as const } : {}),
    ...(loadBalancing
      ? {
          loadBalancing: {
            preference: loadBalancing.routingPreference.flatMap((one) => balancingScopeNames.get(one) ?? []),
            mode: balancingModeNames.get(loadBalancing.mode) ?? 'unspecified',
            allowUnhealthy: loadBalancing.healthPolicy === pb.LoadBalancing_HealthPolicy.ALLOW_ALL,
          },
        }
      : {}),
  };
}

/** A waypoint that cannot exist, as no Namespace can have this name. An object that names it is closed (WEFT_WAYPOINT_MISSING). */
export const closedWaypoint: WaypointRef = {
  kind: 'hostname',
  service: '-/-' as ServiceKey,
  hbonePort: 15008,
};

/** The readable part of a workload, closed: no client can reach it. */
function closedWorkload(message: pb.Workload): Workload | undefined {
  // A pod on the host network is never in the mesh. Its addresses are the node's, which must stay reachable.
  if (message.networkMode === pb.NetworkMode.HOST_NETWORK || message.uid === '') return undefined;
  const known = attempt(() =>
    decodeWorkload({
      ...message,
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
          { ports: ports.filter((one) => attempt(() => decodePort(one)).ok) },
        ]),
      ),
    }),
  );
  return known.ok ? { ...known.value, waypoint: closedWaypoint } : undefined;
}

function closedService({ namespace, hostname, name, addresses, ports }: pb.Service): Service | undefined {
  if (namespace === '' || hostname === '') return undefined;
  return {
    key: `${namespace}/${hostname}` as ServiceKey,
    name,
    namespace,
    hostname,
    addresses: readable(addresses, decodeNetworkAddress),
    ports: readable(ports, decodePort),
    subjectAltNames: [],
    waypoint: closedWaypoint,
  };
}

function closedAddress(type: NonNullable<pb.Address['type']>): Address | undefined {
  if (type.$case === 'workload') {
    const workload = closedWorkload(type.value);
    return workload && { kind: 'workload', workload };
  }
  const service = closedService(type.value);
  return service && { kind: 'service', service };
}

/**
 * Reads a workload or Service. If it cannot be decoded, no client can reach its readable addresses. If not even the addresses can be read,
 * the previous version stays.
 */
export function readAddress(_name: string, bytes: Uint8Array): ReadResult<Address> {
  let type: pb.Address['type'];
  try {
    type = pb.Address.decode(bytes).type;
    if (!type) throw new Error('neither workload nor service');
    const value: Address =
      type.$case === 'workload'
        ? { kind: 'workload', workload: decodeWorkload(type.value) }
        : { kind: 'service', service: decodeService(type.value) };
    return { value, problems: [] };
  } catch (error) {
    return { value: type && closedAddress(type), problems: [errorText(error)] };
  }
}

/** Decodes a workload or Service; any unknown part is an error. */
export function decodeAddress(bytes: Uint8Array): Decoded<Address> {
  return strict(readAddress('', bytes));
}
