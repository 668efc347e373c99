import { usedFields } from '../fields.js';
import { fieldRemarks } from '../remarks.js';
import { compileSecurity } from './authorization.js';
import { closedRequestAuthentication } from './closed-security.js';
import { istioKind } from './istio-kind.js';
import { requestAuthenticationFields } from './security-fields.js';
import { securityDependents } from './security-dependents.js';
import { securityProblem } from './security-problem.js';
import { securityStatus } from './security-status.js';

export const requestAuthenticationKind = istioKind(
  'RequestAuthentication',
  { group: 'security.istio.io', versions: ['v1', 'v1beta1'], plural: 'requestauthentications' },
  {
    closed: closedRequestAuthentication,
    dependents: securityDependents,
    compile(object, { settings, registry }) {
      const { policy } = compileSecurity(object, registry);
      if (settings.removal !== undefined) return { resources: [] };
      const problem = securityProblem(object, registry);
      return {
        resources: policy ? [{ kind: 'policy', value: policy }] : [],
        ...(problem ? { problem } : {}),
        remarks: fieldRemarks(usedFields(object.spec, requestAuthenticationFields)),
      };
    },
    status: securityStatus,
  },
);
