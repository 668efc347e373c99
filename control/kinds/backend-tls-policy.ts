import { gatewayGroup, type BackendTlsPolicyObject } from '../objects/objects.js';
import { backendPolicyStatus } from '../status/backend-policy.js';
import type { Kind } from './kind.js';
import { pickBackendPolicy, type Raw } from './metadata.js';
import { recompileTargets } from './targets.js';

export const backendTlsPolicyKind: Kind<BackendTlsPolicyObject> = {
  address: { group: gatewayGroup, versions: ['v1'], plural: 'backendtlspolicies', optional: true },
  schema: 'gateway',
  pickFields: (raw) => ({
    kind: 'BackendTLSPolicy',
    ...pickBackendPolicy(raw as Raw<BackendTlsPolicyObject>),
  }),
  // The TLS of its targets is compiled with their Services.
  dependents: recompileTargets,
  status: backendPolicyStatus,
};
