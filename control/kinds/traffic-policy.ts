import { compileTrafficPolicy } from '../compile/traffic-policy.js';
import type { TrafficPolicyObject } from '../objects/objects.js';
import { trafficPolicyStatus } from '../status/traffic-policy.js';
import type { Kind } from './kind.js';
import { pickTargeting, type Raw } from './metadata.js';
import { recompileTargets } from './targets.js';

export const trafficPolicyKind: Kind<TrafficPolicyObject> = {
  address: { group: 'weft.dev', versions: ['v1alpha1'], plural: 'trafficpolicies' },
  schema: 'crd',
  pickFields: (raw) => ({ kind: 'TrafficPolicy', ...pickTargeting(raw as Raw<TrafficPolicyObject>) }),
  dependents: recompileTargets,
  // The settings of its targets are compiled with their Services. What cannot be read is an error here (source/validate.ts).
  compile(object) {
    compileTrafficPolicy(object);
    return { resources: [] };
  },
  status: trafficPolicyStatus,
};
