import { serviceSettingsOf } from '../../src/model/service-policy.js';
import { rateLimiterCaller } from '../compile/rate-limiter.js';
import { consentOf } from '../compile/waypoints.js';
import { gatewayGroup, type GatewayObject } from '../objects/objects.js';
import { gatewayStatus } from '../status/gateway.js';
import type { Kind } from './kind.js';
import { withGeneration, type Raw } from './metadata.js';

const settingsOf = (gateway: GatewayObject | undefined): string =>
  JSON.stringify(serviceSettingsOf(gateway?.metadata.annotations).settings);

export const gatewayKind: Kind<GatewayObject> = {
  address: { group: gatewayGroup, versions: ['v1'], plural: 'gateways', optional: true },
  schema: 'gateway',
  pickFields(raw) {
    const { metadata, spec, status } = raw as Raw<GatewayObject>;
    const { gatewayClassName, infrastructure, listeners } = spec;
    return {
      kind: 'Gateway',
      metadata: withGeneration(metadata),
      spec: {
        gatewayClassName,
        ...(infrastructure ? { infrastructure } : {}),
        listeners: (listeners ?? []).map(({ name, port, protocol, allowedRoutes }) => ({
          name,
          port,
          protocol,
          // `allowedRoutes.kinds` is not kept: routes are attached to Services.
          ...(allowedRoutes?.namespaces ? { allowedRoutes: { namespaces: allowedRoutes.namespaces } } : {}),
        })),
      },
      ...(status ? { status } : {}),
    };
  },
  dependents({ before, now, namespace, name }, registry, recompile) {
    recompile.objects(registry.waypointDependents(namespace, name));
    // The Gateway may admit other namespaces than before, and its annotations are defaults of the Services that it serves.
    if (consentOf(before) !== consentOf(now) || settingsOf(before) !== settingsOf(now))
      recompile.servicesThrough({ namespace, name });
  },
  compile({ metadata }, { registry }) {
    const waypoint = { namespace: metadata.namespace ?? 'default', name: metadata.name };
    return {
      resources: registry.isWaypoint(waypoint)
        ? [{ kind: 'waypoint', node: rateLimiterCaller, value: waypoint }]
        : [],
    };
  },
  status: gatewayStatus,
};
