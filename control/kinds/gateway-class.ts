import { namespaceOf } from '../../src/model/labels.js';
import { gatewayGroup, type GatewayClassObject } from '../objects/objects.js';
import { gatewayClassStatus } from '../status/gateway-class.js';
import type { Kind } from './kind.js';
import { withGeneration, type Raw } from './metadata.js';

export const gatewayClassKind: Kind<GatewayClassObject> = {
  address: {
    group: gatewayGroup,
    versions: ['v1'],
    plural: 'gatewayclasses',
    clusterWide: true,
    optional: true,
  },
  schema: 'gateway',
  pickFields(raw) {
    const { metadata, spec, status } = raw as Raw<GatewayClassObject>;
    const conditions = status?.conditions;
    return {
      kind: 'GatewayClass',
      metadata: withGeneration(metadata),
      spec: { controllerName: spec.controllerName },
      ...(conditions ? { status: { conditions } } : {}),
    };
  },
  dependents({ name }, registry, recompile) {
    for (const gateway of registry.indexes.Gateway.all())
      if (gateway.spec.gatewayClassName === name)
        recompile.objects([
          gateway,
          ...registry.waypointDependents(namespaceOf(gateway), gateway.metadata.name),
        ]);
  },
  status: gatewayClassStatus,
};
