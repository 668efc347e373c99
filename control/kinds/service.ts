import { labelsOf, namespaceOf } from '../../src/model/labels.js';
import { claimRanks } from '../../src/model/ownership.js';
import { refusedWaypoint } from '../../src/model/refused-waypoint.js';
import { rulesNaming, type RulesInForce } from '../dialects/istio/destination-rule/in-force.js';
import { serviceNameLabel } from '../compile/endpoint-slice.js';
import type { CompiledResource } from '../compile/resource.js';
import { compileService } from '../compile/service.js';
import { servicePolicies } from '../compile/service-policy.js';
import { subsetServices } from '../compile/subsets.js';
import { recompileVirtualServicesOf, routesKey } from '../dialects/istio/virtual-service-dependents.js';
import { hbonePort, waypointCaller, waypointReference, type WaypointName } from '../compile/waypoints.js';
import { waypointPolicies } from '../dialects/istio/authorization.js';
import { serviceKey } from '../dialects/smi/index-keys.js';
import { objectKey } from '../objects/object-key.js';
import { waypointBoundType, type ServiceObject } from '../objects/objects.js';
import { addressClaims } from '../registry/claims.js';
import type { Registry } from '../registry/registry.js';
import { serviceStatus } from '../status/service.js';
import type { Kind } from './kind.js';
import { pickMeta, type Raw } from './metadata.js';

export const serviceKind: Kind<ServiceObject> = {
  address: { group: '', versions: ['v1'], plural: 'services' },
  schema: 'core',
  pickFields: (raw) => pickService(raw as Raw<ServiceObject>),
  claims: ({ spec: { clusterIPs, clusterIP } }) => ({
    rank: claimRanks.service,
    claimed: addressClaims(clusterIPs ?? (clusterIP ? [clusterIP] : [])),
  }),
  dependents({ before, now, namespace, name }, registry, recompile) {
    for (const one of [before, now]) recompile.selected(namespace, one?.spec.selector);
    if (!now && before) recompile.objects(rulesNaming(before, registry));
    recompile.objects(registry.routesOf(namespace, name));
    recompile.objects(registry.trafficSplitsOf(serviceKey(namespace, name)));
    if (routesKey(before) !== routesKey(now))
      recompileVirtualServicesOf(namespace, name, namespace, registry, recompile);
    recompile.objects(
      registry.indexes.EndpointSlice.in(namespace).filter(
        (slice) => labelsOf(slice)[serviceNameLabel] === name,
      ),
    );
  },
  compile(object, { settings, registry, mesh, rulesOf, security }) {
    // During an uninstall waypoints enforce no policy, so pods must stop accepting the Service's ports only from the waypoint in the same step.
    const waypoint = settings.removal !== undefined ? undefined : registry.waypointOf(object);
    const served = waypoint && registry.admits(waypoint, namespaceOf(object)) ? waypoint : undefined;
    const reference = waypoint && (served ? waypointReference(served) : refusedWaypoint(waypoint, hbonePort));
    const service = compileService(object, mesh, reference);
    const key = objectKey(object);
    const addresses = service.addresses.filter(({ ip }) => !registry.claims.addressLostTo(key, ip));
    const rules = rulesOf(object);
    return {
      resources: [
        { kind: 'service', value: { ...service, addresses } },
        ...(rules ? subsetServices(service, rules) : []).map((value): CompiledResource => ({
          kind: 'service',
          value,
        })),
        ...(served ? policiesOf(object, served, registry, rules) : []),
        ...(served
          ? waypointPolicies(service, served, security(served.namespace).ofWaypoints, registry).map(
              (value) => ({ kind: 'policy', value }) as const,
            )
          : []),
      ],
    };
  },
  status: serviceStatus,
};

const policiesOf = (
  service: ServiceObject,
  waypoint: WaypointName,
  registry: Registry,
  rules: RulesInForce | undefined,
): CompiledResource[] =>
  servicePolicies(service, waypoint, registry, rules).map((value) => ({
    kind: 'servicePolicy',
    node: waypointCaller(waypoint),
    value,
  }));

function pickService(raw: Raw<ServiceObject>): ServiceObject | undefined {
  // An ExternalName Service is an alias that only DNS resolves.
  if (raw.spec.type === 'ExternalName') return undefined;
  const { selector, clusterIPs, clusterIP, ports, internalTrafficPolicy } = raw.spec;
  const { trafficDistribution, sessionAffinity, publishNotReadyAddresses } = raw.spec;
  const conditions = (raw.status?.conditions ?? []).filter(({ type }) => type === waypointBoundType);
  return {
    kind: 'Service',
    metadata: pickMeta(raw.metadata),
    ...(conditions.length > 0 ? { status: { conditions } } : {}),
    spec: {
      ...(selector ? { selector } : {}),
      ...(clusterIPs ? { clusterIPs } : clusterIP ? { clusterIP } : {}),
      ports: (ports ?? []).map((port) => ({
        port: port.port,
        ...(port.name ? { name: port.name } : {}),
        ...(port.targetPort === undefined ? {} : { targetPort: port.targetPort }),
        ...(port.appProtocol ? { appProtocol: port.appProtocol } : {}),
        ...(port.protocol ? { protocol: port.protocol } : {}),
      })),
      ...(internalTrafficPolicy ? { internalTrafficPolicy } : {}),
      ...(trafficDistribution ? { trafficDistribution } : {}),
      ...(sessionAffinity ? { sessionAffinity } : {}),
      ...(publishNotReadyAddresses ? { publishNotReadyAddresses } : {}),
    },
  };
}
