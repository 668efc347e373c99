import type { KeyLookup } from '../../compile/jwt-filter.js';
import type { IstioObject } from '../../objects/objects.js';
import { awaitsKeys, notFetched } from '../../registry/key-sets.js';
import { remarkOf, usedFields } from '../fields.js';
import { compileSecurity } from './authorization.js';
import { closedRequestAuthentication } from './closed-security.js';
import { istioKind } from './istio-kind.js';
import { requestAuthenticationFields } from './security-fields.js';
import { issuersOf } from './request-tokens.js';
import { requestDependents } from './security-dependents.js';
import { securityProblem } from './security-problem.js';
import { rootRemark } from './security-scope.js';
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
      const remarks = [
        remarkOf(usedFields(object.spec, requestAuthenticationFields)),
        ...keyProblems(object, registry.keySets),
        rootRemark(object, registry.rootNamespace),
      ];
      const remark = remarks.filter((one) => one !== undefined).join('; ');
      return {
        resources: policy ? [{ kind: 'policy', value: policy }] : [],
        ...(problem ? { problem } : {}),
        ...(remark === '' ? {} : { remark }),
      };
    },
    status: securityStatus,
  },
);

/** Issuers without keys: no token of theirs is valid. One text each. */
const keyProblems = (object: IstioObject<'RequestAuthentication'>, fetched: KeyLookup): string[] =>
  issuersOf(object).flatMap(({ keys }, index) => {
    const problem =
      keys.kind === 'uri' ? fetched.of(keys.uri).problem : keys.kind === 'none' ? keys.problem : '';
    if (problem === '') return [];
    // What is not fetched yet is no fault of the object.
    return problem === notFetched.problem
      ? [`jwtRules[${index}]: no token of this issuer ${awaitsKeys}`]
      : [`jwtRules[${index}]: closed: no token of this issuer is valid: ${problem}`];
  });
