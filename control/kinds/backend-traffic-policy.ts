import { compileBackendTrafficPolicy } from '../dialects/gateway/backend-traffic-policy.js';
import { experimentalGatewayGroup, type BackendTrafficPolicyObject } from '../objects/objects.js';
import { backendPolicyStatus } from '../status/backend-policy.js';
import type { Kind } from './kind.js';
import { pickBackendPolicy, type Raw } from './metadata.js';
import { recompileTargets } from './targets.js';

export const backendTrafficPolicyKind: Kind<BackendTrafficPolicyObject> = {
  address: {
    group: experimentalGatewayGroup,
    versions: ['v1alpha1'],
    plural: 'xbackendtrafficpolicies',
    optional: true,
  },
  schema: 'gateway',
  pickFields: (raw) => ({
    kind: 'XBackendTrafficPolicy',
    ...pickBackendPolicy(raw as Raw<BackendTrafficPolicyObject>),
  }),
  dependents: recompileTargets,
  // The budget of its targets is compiled with their Services. What cannot be read is an error here (source/validate.ts).
  compile(object) {
    compileBackendTrafficPolicy(object);
    return { resources: [] };
  },
  status: backendPolicyStatus,
};
