import { namespaceOf } from '../../src/model/labels.js';
import { alwaysMatch, type AuthorizationPolicy, type PolicyKey } from '../../src/model/policy.js';
import { compileAuthenticationPolicy } from '../compile/authentication-policy.js';
import type { AuthenticationPolicyObject } from '../objects/objects.js';
import { trafficPolicyStatus } from '../status/traffic-policy.js';
import type { Kind } from './kind.js';
import { pickTargeting, type Raw } from './metadata.js';
import { recompilePodsBehind, recompileTargets } from './targets.js';

export const authenticationPolicyKind: Kind<AuthenticationPolicyObject> = {
  address: { group: 'weft.dev', versions: ['v1alpha1'], plural: 'authenticationpolicies' },
  schema: 'crd',
  pickFields: (raw) => ({
    kind: 'AuthenticationPolicy',
    ...pickTargeting(raw as Raw<AuthenticationPolicyObject>),
  }),
  dependents(change, registry, recompile) {
    recompileTargets(change, registry, recompile);
    const { before, now, namespace } = change;
    // Only keys have changed: the policies of pods name none.
    if (before === now) return;
    for (const { kind, name } of [before, now].flatMap((policy) => policy?.spec.targetRefs ?? [])) {
      if (kind === 'Service') recompile.selected(namespace, registry.service(namespace, name)?.spec.selector);
      if (kind === 'Gateway') recompilePodsBehind({ namespace, name }, registry, recompile);
    }
  },
  // The settings of its targets, and the policies of the pods behind them, are compiled with their Services.
  compile(object, { settings }) {
    compileAuthenticationPolicy(object);
    const isClosed = object.closesNamespace === true && settings.removal === undefined;
    return { resources: isClosed ? [{ kind: 'policy', value: closedNamespace(object), guards: true }] : [] };
  },
  status: trafficPolicyStatus,
};

/** Denies all traffic to the namespace of a policy whose targets cannot be read. */
function closedNamespace(object: AuthenticationPolicyObject): AuthorizationPolicy {
  const namespace = namespaceOf(object);
  const name = `AuthenticationPolicy/${object.metadata.name}`;
  return {
    key: `${namespace}/${name}` as PolicyKey,
    name,
    namespace,
    scope: 'namespace',
    services: [],
    action: 'deny',
    dryRun: false,
    rules: [{ clauses: [{ matches: [alwaysMatch] }] }],
  };
}
