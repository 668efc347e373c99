/** AccessPolicy and strict mode as istio.security.Authorization. */
import { parseCidr } from '../../src/model/address.js';
import type { AuthorizationPolicy, PolicyKey, PolicyMatch, StringMatch } from '../../src/model/policy.js';
import type { AccessPolicyObject } from './objects.js';

/** A policy here applies to the whole mesh. */
export const rootNamespace = 'weft-system';

const strictPrefix = 'weft-strict-';

const nothing: PolicyMatch = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
  serviceAccounts: [],
  notServiceAccounts: [],
};

/** `*` alone: any that is there; at an end: prefix or suffix. */
function text(value: string): StringMatch {
  const bare = value.replace(/^spiffe:\/\//, '');
  if (bare === '*') return { kind: 'presence' };
  if (bare.endsWith('*')) return { kind: 'prefix', value: bare.slice(0, -1) };
  if (bare.startsWith('*')) return { kind: 'suffix', value: bare.slice(1) };
  return { kind: 'exact', value: bare };
}

function account(value: string): { namespace: string; serviceAccount: string } {
  const [namespace = '', serviceAccount = ''] = value.split('/');
  return { namespace, serviceAccount };
}

const all = <A, B>(values: readonly A[] | undefined, make: (value: A) => B): B[] => (values ?? []).map(make);

export function compilePolicy(policy: AccessPolicyObject): AuthorizationPolicy {
  const namespace = policy.metadata.namespace ?? 'default';
  const { spec } = policy;
  // One of that name would stand in the place of strict mode.
  if (policy.metadata.name.startsWith(strictPrefix))
    throw new Error(`names that begin with ${strictPrefix} are those of strict mode itself`);
  return {
    key: `${namespace}/${policy.metadata.name}` as PolicyKey,
    name: policy.metadata.name,
    namespace,
    scope: spec.selector ? 'workload' : namespace === rootNamespace ? 'global' : 'namespace',
    services: [],
    action: spec.action === 'ALLOW' ? 'allow' : 'deny',
    dryRun: spec.mode === 'audit',
    rules: spec.rules.map(({ from, to }) => {
      const sources = all(from, (source) => ({
        ...nothing,
        principals: all(source.identities, text),
        notPrincipals: all(source.notIdentities, text),
        namespaces: all(source.namespaces, text),
        notNamespaces: all(source.notNamespaces, text),
        serviceAccounts: all(source.serviceAccounts, account),
        notServiceAccounts: all(source.notServiceAccounts, account),
        sourceIps: all(source.cidrs, parseCidr),
        notSourceIps: all(source.notCidrs, parseCidr),
      }));
      const targets = all(to, (target) => ({
        ...nothing,
        destinationPorts: [...(target.ports ?? [])],
        notDestinationPorts: [...(target.notPorts ?? [])],
        destinationIps: all(target.cidrs, parseCidr),
        notDestinationIps: all(target.notCidrs, parseCidr),
      }));
      return {
        clauses: [sources, targets].filter((matches) => matches.length > 0).map((matches) => ({ matches })),
      };
    }),
  };
}

/** Strict mode: whoever shows no identity is denied. Any node proxy that reads Authorization enforces it alike. */
export function strictPolicy(
  namespace: string,
  what: string,
  scope: AuthorizationPolicy['scope'],
): AuthorizationPolicy {
  const name = `${strictPrefix}${what}`;
  return {
    key: `${namespace}/${name}` as PolicyKey,
    name,
    namespace,
    scope,
    services: [],
    action: 'deny',
    dryRun: false,
    rules: [{ clauses: [{ matches: [{ ...nothing, notPrincipals: [{ kind: 'presence' }] }] }] }],
  };
}
