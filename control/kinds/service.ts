import { claimRanks } from '../../src/model/ownership.js';
import { rulesNaming } from '../dialects/istio/destination-rule/in-force.js';
import { targetOf } from '../dialects/istio/destination-rule/layers.js';
import { slicesNaming } from '../registry/slices.js';
import type { CompiledResource } from '../compile/resource.js';
import { compileService } from '../compile/service.js';
import { tokenGuards } from '../compile/token-guard.js';
import { boundWaypoint, waypointResources } from '../compile/waypoint-resources.js';
import { subsetServices } from '../compile/subsets.js';
import { recompileVirtualServicesOf, routesKey } from '../dialects/istio/virtual-service-dependents.js';
import { serviceKey } from '../dialects/smi/index-keys.js';
import { objectKey } from '../objects/object-key.js';
import { waypointBoundType, type ServiceObject } from '../objects/objects.js';
import { addressClaims } from '../registry/claims.js';
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
    recompile.objects(slicesNaming(namespace, name, registry));
  },
  compile(object, context) {
    const { settings, registry, mesh, rulesOf } = context;
    // During an uninstall pods stop accepting the Service's ports only from the waypoint in the same step.
    const waypoint = boundWaypoint(object, context);
    const { served } = waypoint ?? {};
    const service = compileService(object, mesh, waypoint?.reference);
    const key = objectKey(object);
    const addresses = service.addresses.filter(({ ip }) => !registry.claims.addressLostTo(key, ip));
    const rules = rulesOf(object);
    const guards = settings.removal === undefined ? tokenGuards(object, registry) : [];
    return {
      resources: [
        { kind: 'service', value: { ...service, addresses } },
        ...(rules ? subsetServices(service, rules) : []).map((value): CompiledResource => ({
          kind: 'service',
          value,
        })),
        ...guards.map((value): CompiledResource => ({ kind: 'policy', value, guards: true })),
        ...(served ? waypointResources(object, service, targetOf(object), served, context, rules) : []),
      ],
    };
  },
  status: serviceStatus,
};

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
