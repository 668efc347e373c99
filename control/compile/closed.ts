/**
 * The closed form of an object that cannot be read: the most restrictive object that its readable fields allow. It is in force instead of
 * the object. It depends only on the object, never on an earlier version, so that all replicas agree, also after a restart. Pure.
 */
import {
  type AccessPolicyObject,
  type MeshObject,
  type MeshSettingsObject,
  type RouteObject,
  isRoute,
  isSmi,
} from '../objects/objects.js';
import {
  closedBackendTlsPolicy,
  closedBackendTrafficPolicy,
} from '../dialects/gateway/closed-backend-policy.js';
import { withClosedRules, type RuleErrors } from '../dialects/gateway/closed-rules.js';
import { closedAuthenticationPolicy } from './closed-authentication-policy.js';
import { closedTrafficPolicy } from './closed-traffic-policy.js';
import type { Labels } from '../../src/model/labels.js';
import { isRecord } from '../../src/base/record.js';

/** The labels of a selector that can be read as a whole; undefined: it cannot, or it has none. */
export function selectorOf(value: unknown): { readonly matchLabels: Labels } | undefined {
  const labels = isRecord(value) ? value['matchLabels'] : undefined;
  if (!isRecord(labels) || Object.keys(labels).length === 0) return undefined;
  // An unknown field may select further pods: the policy may be meant for more than these labels.
  if (Object.keys(value as object).length > 1) return undefined;
  return Object.values(labels).every((one) => typeof one === 'string')
    ? { matchLabels: labels as Labels }
    : undefined;
}

function targetsOf(value: unknown): AccessPolicyObject['spec']['targetRefs'] {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const isService = (one: unknown): boolean =>
    isRecord(one) && one['group'] === '' && one['kind'] === 'Service' && typeof one['name'] === 'string';
  return value.every(isService)
    ? (value as readonly { group: string; kind: string; name: string }[]).map(({ group, kind, name }) => ({
        group,
        kind,
        name,
      }))
    : undefined;
}

/**
 * A policy that denies all traffic to what the original selects. If the selection cannot be read, it applies to the policy's namespace, or
 * in the root namespace to the whole mesh. With `mode: audit` denials are recorded and not enforced.
 */
function closedPolicy(object: AccessPolicyObject, why: string): AccessPolicyObject {
  const spec: unknown = object.spec;
  const fields = isRecord(spec) ? spec : {};
  const selector = selectorOf(fields['selector']);
  const targetRefs = targetsOf(fields['targetRefs']);
  // With both fields the intended selection is unknown.
  const isKnown =
    fields['selector'] === undefined
      ? fields['targetRefs'] === undefined || targetRefs !== undefined
      : selector !== undefined && fields['targetRefs'] === undefined;
  return {
    ...object,
    invalid: why,
    spec: {
      action: 'DENY',
      ...(fields['mode'] === 'audit' ? { mode: 'audit' as const } : {}),
      ...(isKnown && selector ? { selector } : {}),
      ...(isKnown && targetRefs ? { targetRefs } : {}),
      rules: [{}],
    },
  };
}

/** The strictest value of each field. An unreadable field that is not listed is left out. */
const strongest: Partial<MeshSettingsObject['spec']> = {
  mode: 'strict',
  policyMode: 'enforce',
  outboundUnknown: 'refuse',
  agentDown: 'refuse',
  sameNode: 'encrypted',
};

/** @param wrong top-level fields of `spec` that cannot be read; undefined: all of them */
function closedSettings(
  object: MeshSettingsObject,
  why: string,
  wrong: ReadonlySet<string> | undefined,
): MeshSettingsObject {
  const spec: unknown = object.spec;
  const readable = wrong && isRecord(spec) ? Object.entries(spec).filter(([name]) => !wrong.has(name)) : [];
  const taken = Object.entries(strongest).filter(([name]) => !wrong || wrong.has(name));
  return { ...object, invalid: why, spec: Object.fromEntries([...readable, ...taken]) };
}

/** A route that responds with an error to every request to its readable parents. */
export function closedRoute(object: RouteObject, why: string): RouteObject {
  const spec: unknown = object.spec;
  const refs: unknown = isRecord(spec) ? spec['parentRefs'] : undefined;
  const parentRefs = (Array.isArray(refs) ? refs : []).flatMap((ref: unknown) => {
    if (!isRecord(ref) || typeof ref['name'] !== 'string') return [];
    const text = (name: string): Readonly<Record<string, string>> =>
      typeof ref[name] === 'string' ? { [name]: ref[name] } : {};
    const port = typeof ref['port'] === 'number' ? { port: ref['port'] } : {};
    return [
      {
        ...text('group'),
        ...text('kind'),
        ...text('namespace'),
        ...text('sectionName'),
        name: ref['name'],
        ...port,
      },
    ];
  });
  return { ...object, invalid: why, spec: { parentRefs } } as RouteObject;
}

/**
 * The closed form of an object; undefined for kinds without one, whose last valid version, if any, stays in force.
 * @param wrong top-level fields of `spec` that cannot be read; undefined: unknown
 * @param rules errors of a route's rules, if there are no other errors: only these rules are closed
 */
export function closedForm(
  object: MeshObject,
  why: string,
  wrong: ReadonlySet<string> | undefined,
  rules?: RuleErrors,
): MeshObject | undefined {
  if (object.kind === 'AccessPolicy') return closedPolicy(object, why);
  if (object.kind === 'MeshSettings') return closedSettings(object, why, wrong);
  if (object.kind === 'BackendTLSPolicy') return closedBackendTlsPolicy(object, why);
  if (object.kind === 'XBackendTrafficPolicy') return closedBackendTrafficPolicy(object, why);
  if (object.kind === 'AuthenticationPolicy') return closedAuthenticationPolicy(object, why);
  if (object.kind === 'TrafficPolicy') return closedTrafficPolicy(object, why, wrong);
  if (!isRoute(object)) return undefined;
  return rules ? withClosedRules(object, rules) : closedRoute(object, why);
}

/** What is in force instead of the object, as the end of a message to its author. */
export const closedMeans = (kind: MeshObject['kind']): string =>
  kind === 'AccessPolicy' || kind === 'AuthorizationPolicy' || kind === 'RequestAuthentication'
    ? 'until it is corrected, all traffic to what it selects is denied'
    : kind === 'PeerAuthentication'
      ? 'until it is corrected, plaintext to what it selects is denied'
      : kind === 'MeshSettings'
        ? 'until it is corrected, its unreadable fields have their strictest values (strict, refuse, no exclusions)'
        : kind === 'AuthenticationPolicy'
          ? 'until it is corrected, all traffic to its targets is refused, and if these cannot be read, to its namespace'
          : kind === 'TrafficPolicy'
            ? 'until it is corrected, its unreadable sections are not in force; if a rate limit, a circuit breaker, external authorization or load shedding is among them, requests to its targets are refused'
            : isSmi({ kind })
              ? 'until it is corrected, it allows nothing, and requests to the root Service of a TrafficSplit that uses it are answered with 500'
              : kind === 'VirtualService' || kind.endsWith('Route')
                ? 'until it is corrected, requests that it might match are answered with 500'
                : 'its last valid content, if any, stays in force';
