/** Compiles Services to resources. Pure. */
import { parseIp } from '../../src/model/address.js';
import type { Service } from '../../src/model/service.js';
import type { PortMapping, ServiceKey, WaypointRef } from '../../src/model/workload.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { MeshSettingsObject, ServiceObject } from '../objects/objects.js';
import { appProtocol } from './protocols.js';

/** The cluster ID: the first part of every workload UID. */
export const cluster = 'Kubernetes';

export const tcpPorts = (service: ServiceObject) =>
  (service.spec.ports ?? []).filter(({ protocol }) => (protocol ?? 'TCP') === 'TCP');

export const serviceKeyOf = (service: ServiceObject): ServiceKey =>
  `${namespaceOf(service)}/${service.metadata.name}.${namespaceOf(service)}.svc.cluster.local` as ServiceKey;

export function compileService(
  service: ServiceObject,
  mesh: MeshSettingsObject['spec'],
  waypoint: WaypointRef | undefined,
): Service {
  const ips = service.spec.clusterIPs ?? (service.spec.clusterIP ? [service.spec.clusterIP] : []);
  return {
    key: serviceKeyOf(service),
    name: service.metadata.name,
    namespace: namespaceOf(service),
    hostname: `${service.metadata.name}.${namespaceOf(service)}.svc.cluster.local`,
    addresses: ips.filter((ip) => ip !== '' && ip !== 'None').map((ip) => ({ network: '', ip: parseIp(ip) })),
    ports: tcpPorts(service).map((port): PortMapping => ({
      servicePort: port.port,
      // A named port is resolved per workload.
      targetPort: typeof port.targetPort === 'string' ? 0 : (port.targetPort ?? port.port),
      appProtocol: appProtocol(port),
    })),
    subjectAltNames: [],
    ...(waypoint ? { waypoint } : {}),
    ...loadBalancingOf(service.spec, mesh),
    ...(service.spec.sessionAffinity === 'ClientIP' ? { sessionAffinity: 'client-ip' as const } : {}),
  };
}

/** `Local` allows only endpoints of the client's node. PreferSameNode and PreferSameZone prefer near endpoints to others. */
function loadBalancingOf(
  spec: ServiceObject['spec'],
  mesh: MeshSettingsObject['spec'],
): Pick<Service, 'loadBalancing'> {
  const local = spec.internalTrafficPolicy === 'Local';
  const distribution = spec.trafficDistribution ?? mesh.trafficDistribution;
  const node = local || distribution === 'PreferSameNode';
  // PreferClose is the former name of PreferSameZone (Kubernetes 1.34).
  const zone = !local && (distribution === 'PreferSameZone' || distribution === 'PreferClose');
  const allowUnhealthy = spec.publishNotReadyAddresses === true;
  if (!node && !zone && !allowUnhealthy) return {};
  return {
    loadBalancing: {
      preference: node ? ['node'] : zone ? ['region', 'zone'] : [],
      mode: local ? 'strict' : node || zone ? 'failover' : 'unspecified',
      allowUnhealthy,
    },
  };
}
