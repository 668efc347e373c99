import { compilePolicy } from '../compile/policies.js';
import type { AccessPolicyObject } from '../objects/objects.js';
import { policyStatus } from '../status/policy.js';
import type { Kind } from './kind.js';
import { pickOwn, type Raw } from './metadata.js';

export const accessPolicyKind: Kind<AccessPolicyObject> = {
  address: { group: 'weft.dev', versions: ['v1alpha1'], plural: 'accesspolicies' },
  schema: 'crd',
  pickFields: (raw) => ({ kind: 'AccessPolicy', ...pickOwn(raw as Raw<AccessPolicyObject>) }),
  dependents({ before, now, namespace }, _registry, recompile) {
    const selectors = [before?.spec.selector?.matchLabels, now?.spec.selector?.matchLabels];
    for (const selector of selectors) recompile.selected(namespace, selector);
  },
  compile: (object, { settings, registry }) => ({
    resources:
      settings.removal !== undefined
        ? []
        : [{ kind: 'policy', value: compilePolicy(object, registry.rootNamespace) }],
  }),
  status: policyStatus,
};
