import { closedRemark, fieldRemarks } from '../remarks.js';
import { compileSecurity } from './authorization.js';
import { closedAuthorizationPolicy } from './closed-security.js';
import { istioKind } from './istio-kind.js';
import { usedAuthorizationFields } from './security-fields.js';
import { securityDependents } from './security-dependents.js';
import { securityProblem } from './security-problem.js';
import { securityStatus } from './security-status.js';

export const authorizationPolicyKind = istioKind(
  'AuthorizationPolicy',
  { group: 'security.istio.io', versions: ['v1', 'v1beta1'], plural: 'authorizationpolicies' },
  {
    closed: closedAuthorizationPolicy,
    dependents: securityDependents,
    compile(object, { settings, registry }) {
      const { policy, closed } = compileSecurity(object, registry);
      if (settings.removal !== undefined) return { resources: [] };
      const problem = securityProblem(object, registry);
      const remarks = [
        ...fieldRemarks(usedAuthorizationFields(object.spec)),
        ...closed.map((one) => closedRemark(one)),
      ];
      return {
        resources: policy ? [{ kind: 'policy', value: policy }] : [],
        ...(problem ? { problem } : {}),
        remarks,
      };
    },
    status: securityStatus,
  },
);
