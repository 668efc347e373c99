/** Closed forms of Istio's security kinds: what is in force instead of an object that cannot be read. Pure. */
import { selectorOf } from '../../compile/closed.js';
import type {
  AuthorizationPolicySpec,
  SecurityTargets,
  TargetReference,
} from '../../objects/istio-security.js';
import type { IstioObject } from '../../objects/objects.js';
import { isTarget } from './security-scope.js';
import { isRecord } from '../../../src/base/record.js';

const nameFields = ['selector', 'targetRef', 'targetRefs'] as const;

/** What a policy is for, if that can be read as a whole; otherwise its namespace, or in the root namespace the mesh. */
function targetsOf(fields: Readonly<Record<string, unknown>>): SecurityTargets {
  const given = nameFields.filter((name) => fields[name] !== undefined);
  const [name] = given;
  if (name === undefined || given.length > 1) return {};
  if (name === 'selector') {
    const selector = selectorOf(fields['selector']);
    const isPlain = selector && !JSON.stringify(selector.matchLabels).includes('*');
    return isPlain ? { selector } : {};
  }
  const refs: unknown = name === 'targetRef' ? [fields[name]] : fields[name];
  if (!Array.isArray(refs) || refs.length === 0) return {};
  return refs.every((ref: unknown) => isRecord(ref) && isTarget(ref))
    ? {
        targetRefs: (refs as TargetReference[]).map(({ group = '', kind, name: of }) => ({
          group,
          kind,
          name: of,
        })),
      }
    : {};
}

const fieldsOf = (spec: unknown): Readonly<Record<string, unknown>> => (isRecord(spec) ? spec : {});

/** A policy that denies all traffic to what the original selects. AUDIT, which refuses nothing, records it instead. */
export function closedAuthorizationPolicy(
  object: IstioObject<'AuthorizationPolicy'>,
  invalid: string,
): IstioObject<'AuthorizationPolicy'> {
  const fields = fieldsOf(object.spec);
  const spec: AuthorizationPolicySpec = {
    action: fields['action'] === 'AUDIT' ? 'AUDIT' : 'DENY',
    ...targetsOf(fields),
    rules: [{}],
  };
  return { ...object, invalid, spec };
}

/** Denies all traffic to what the original selects. */
export const closedRequestAuthentication = (
  object: IstioObject<'RequestAuthentication'>,
  invalid: string,
): IstioObject<'RequestAuthentication'> => ({ ...object, invalid, spec: targetsOf(fieldsOf(object.spec)) });

/** Denies plaintext to what the original selects, whatever other objects say. */
export function closedPeerAuthentication(
  object: IstioObject<'PeerAuthentication'>,
  invalid: string,
): IstioObject<'PeerAuthentication'> {
  const { selector } = targetsOf({ selector: fieldsOf(object.spec)['selector'] });
  return { ...object, invalid, spec: { ...(selector ? { selector } : {}), mtls: { mode: 'STRICT' } } };
}
