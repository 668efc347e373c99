/** The closed forms of the Gateway API's policies about backends that cannot be read. Pure. */
import type { BackendTlsPolicyObject, BackendTrafficPolicyObject, TargetRef } from '../../objects/objects.js';
import { isRecord } from '../../../src/base/record.js';

/** The targets that can be read. A section that cannot be read may be any: the whole object is meant, then. */
function targetsOf(spec: unknown): TargetRef[] {
  const refs: unknown = isRecord(spec) ? spec['targetRefs'] : undefined;
  return (Array.isArray(refs) ? refs : []).flatMap((ref: unknown): TargetRef[] => {
    if (!isRecord(ref)) return [];
    const { group, kind, name, sectionName, ...more } = ref;
    if (typeof group !== 'string' || typeof kind !== 'string' || typeof name !== 'string') return [];
    const isSection = typeof sectionName === 'string' && Object.keys(more).length === 0;
    return [{ group, kind, name, ...(isSection ? { sectionName } : {}) }];
  });
}

/** The smallest budget: without one, retries would have no limit but that of their rule. */
export const closedBackendTrafficPolicy = (
  object: BackendTrafficPolicyObject,
  why: string,
): BackendTrafficPolicyObject => ({
  ...object,
  invalid: why,
  spec: {
    targetRefs: targetsOf(object.spec),
    retryConstraint: { budget: { percent: 0 }, minRetryRate: { count: 1 } },
  },
});

/** Connections to the targets are refused (dialects/gateway/backend-tls-policy.ts). */
export const closedBackendTlsPolicy = (
  object: BackendTlsPolicyObject,
  why: string,
): BackendTlsPolicyObject => ({
  ...object,
  invalid: why,
  spec: { targetRefs: targetsOf(object.spec), validation: { hostname: '' } },
});
