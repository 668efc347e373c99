import type { KeyLookup } from '../../compile/jwt-filter.js';
import type { IstioObject } from '../../objects/objects.js';
import { awaitsKeys, notFetched } from '../../registry/key-sets.js';
import { usedFields } from '../fields.js';
import { closedRemark, differing, fieldRemarks, type Remark } from '../remarks.js';
import { compileSecurity, guardsOf } from './authorization.js';
import { closedRequestAuthentication } from './closed-security.js';
import { istioKind } from './istio-kind.js';
import { requestAuthenticationFields } from './security-fields.js';
import { issuersOf } from './request-tokens.js';
import { requestDependents } from './security-dependents.js';
import { securityProblem } from './security-problem.js';
import { securityStatus } from './security-status.js';

export const requestAuthenticationKind = istioKind(
  'RequestAuthentication',
  { group: 'security.istio.io', versions: ['v1', 'v1beta1'], plural: 'requestauthentications' },
  {
    closed: closedRequestAuthentication,
    dependents: requestDependents,
    compile(object, { settings, registry }) {
      const { policy } = compileSecurity(object, registry);
      if (settings.removal !== undefined) return { resources: [] };
      const problem = securityProblem(object, registry);
      return {
        resources: policy ? [{ kind: 'policy', value: policy, ...guardsOf(object) }] : [],
        ...(problem ? { problem } : {}),
        remarks: [
          ...fieldRemarks(usedFields(object.spec, requestAuthenticationFields)),
          ...keyRemarks(object, registry.keySets),
        ],
      };
    },
    status: securityStatus,
  },
);

/** Issuers without keys: no token of theirs is valid. */
const keyRemarks = (object: IstioObject<'RequestAuthentication'>, fetched: KeyLookup): Remark[] =>
  issuersOf(object).flatMap(({ keys }, index) => {
    const problem =
      keys.kind === 'uri' ? fetched.of(keys.uri).problem : keys.kind === 'none' ? keys.problem : '';
    if (problem === '') return [];
    const field = `jwtRules[${index}]`;
    // What is not fetched yet is no fault of the object.
    return problem === notFetched.problem
      ? [differing(`no token of this issuer ${awaitsKeys}`, field)]
      : [closedRemark(`no token of this issuer is valid: ${problem}`, field)];
  });
