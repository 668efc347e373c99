/**
 * The closed form of an AuthenticationPolicy that cannot be read: requests to its targets are refused. If one of the targets cannot be read,
 * any pod of its namespace may be meant, and all of them are closed. In dry run nothing is closed. Pure.
 */
import { isRecord } from '../../src/base/record.js';
import type { AuthenticationPolicyObject, TargetRef } from '../objects/objects.js';
import { targetOf } from './closed-traffic-policy.js';

export function closedAuthenticationPolicy(
  object: AuthenticationPolicyObject,
  why: string,
): AuthenticationPolicyObject {
  const spec: unknown = object.spec;
  const fields = isRecord(spec) ? spec : {};
  const refs = Array.isArray(fields['targetRefs']) ? (fields['targetRefs'] as readonly unknown[]) : [];
  const targetRefs = refs.flatMap((ref): TargetRef[] => {
    const target = targetOf(ref);
    return target ? [target] : [];
  });
  const isDryRun = isRecord(fields['jwt']) && fields['jwt']['dryRun'] === true;
  const isUnknown = refs.length === 0 || targetRefs.length < refs.length;
  return {
    ...object,
    invalid: why,
    ...(isUnknown && !isDryRun ? { closesNamespace: true } : {}),
    spec: { targetRefs, ...(isDryRun ? { jwt: { issuers: [], dryRun: true } } : {}) },
  };
}
