/** Compiles AuthorizationPolicies and RequestAuthentications to the policies of nodes and waypoints. Pure. */
import { namespaceOf } from '../../../src/model/labels.js';
import type { AuthorizationPolicy } from '../../../src/model/policy.js';
import type { CompiledResource } from '../../compile/resource.js';
import type { WaypointName } from '../../compile/waypoints.js';
import type { IstioObject } from '../../objects/objects.js';
import type { Registry } from '../../registry/registry.js';
import { compileRules } from './authorization-rules.js';
import { hasAuditAnnotation } from './request-tokens.js';
import { tokenRules } from './token-rules.js';
import {
  podScope,
  resourceNameOf,
  scopeOf,
  serviceKeys,
  targetsWaypoint,
  type SecurityPolicy,
} from './security-scope.js';

const dryRunAnnotation = 'istio.io/dry-run';

/** The content of a policy, without its name and its scope. */
type Content = Pick<AuthorizationPolicy, 'action' | 'dryRun' | 'rules'> & {
  readonly closed: readonly string[];
};

/** As in Istio, the annotation means nothing for CUSTOM, and any other value means that the policy is enforced. */
export const isDryRun = ({ metadata, spec }: IstioObject<'AuthorizationPolicy'>): boolean =>
  spec.action !== 'CUSTOM' && /^(true|t|1)$/i.test(metadata.annotations?.[dryRunAnnotation] ?? '');

function authorizationContent(object: IstioObject<'AuthorizationPolicy'>): Content {
  const { action = 'ALLOW', provider, rules = [] } = object.spec;
  if (provider && action !== 'CUSTOM') throw new Error('provider: only the action CUSTOM has one');
  const allows = action === 'ALLOW';
  return {
    action: allows ? 'allow' : 'deny',
    dryRun: action === 'AUDIT' || isDryRun(object),
    ...compileRules(rules, namespaceOf(object), !allows),
  };
}

const contentOf = (object: SecurityPolicy): Content =>
  object.kind === 'AuthorizationPolicy'
    ? authorizationContent(object)
    : { action: 'deny', dryRun: hasAuditAnnotation(object), closed: [], rules: tokenRules(object) };

/** What a RequestAuthentication closes because it cannot be read stays closed in audit mode. */
export const guardsOf = ({ kind, invalid }: SecurityPolicy): { readonly guards?: true } =>
  kind === 'RequestAuthentication' && invalid !== undefined ? { guards: true } : {};

export interface CompiledSecurity {
  /** Absent: it is for waypoints only, or nothing. */
  readonly policy?: AuthorizationPolicy;
  /** What is closed because of a value. */
  readonly closed: readonly string[];
}

/** The policy for pods, or for the Services that it targets. Error: the field that cannot be read. */
export function compileSecurity(object: SecurityPolicy, registry: Registry): CompiledSecurity {
  const scope = scopeOf(object);
  const { closed, ...content } = contentOf(object);
  const services = serviceKeys(object, scope, registry);
  if (!hasEffect(object) || (scope.targets && services.length === 0)) return { closed };
  return {
    closed,
    policy: {
      ...resourceNameOf(object),
      ...content,
      // No workload references a policy with targets, so that nodes do not apply it.
      scope: scope.targets ? 'workload' : podScope(object, scope, registry.rootNamespace),
      services,
    },
  };
}

/** Whether the policy can change anything: a DENY without rules cannot. Told without compiling the rules, since it is asked for each change. */
export const hasEffect = (object: SecurityPolicy): boolean =>
  object.kind === 'AuthorizationPolicy'
    ? (object.spec.action ?? 'ALLOW') === 'ALLOW' || (object.spec.rules ?? []).length > 0
    : object.invalid !== undefined || (object.spec.jwtRules ?? []).length > 0;

/** Whether the policy has conditions on HTTP requests or TLS server names, which only a waypoint can evaluate. */
export const readsRequests = (object: SecurityPolicy): boolean =>
  contentOf(object).rules.some(({ clauses }) =>
    clauses.some(({ matches }) => matches.some(({ http, tls }) => http !== undefined || tls !== undefined)),
  );

/** The policies of a waypoint's own, for one Service that it serves. */
export function waypointPolicies(
  service: { readonly key: string; readonly name: string; readonly namespace: string },
  waypoint: WaypointName,
  policies: readonly SecurityPolicy[],
  registry: Registry,
): CompiledResource[] {
  return policies.flatMap((object): CompiledResource[] => {
    if (!hasEffect(object) || !targetsWaypoint(object, scopeOf(object), waypoint, registry)) return [];
    const { closed: _, ...content } = contentOf(object);
    const at = `@${service.name}.${service.namespace}`;
    const value: AuthorizationPolicy = {
      ...resourceNameOf(object, at),
      ...content,
      scope: 'workload',
      services: [service.key],
    };
    return [{ kind: 'policy', value, ...guardsOf(object) }];
  });
}
