/** Compiles AccessPolicies and strict mode to istio.security.Authorization. */
import {
  emptyHttpMatch,
  emptyMatch,
  type AuthorizationPolicy,
  type HttpMatch,
  type PolicyKey,
  type PolicyMatch,
  type TlsMatch,
} from '../../src/model/policy.js';
import type { AccessPolicyObject, PolicySource, PolicyTarget } from '../objects/objects.js';
import { policyPath } from './paths.js';
import { claimMatches } from './token-conditions.js';
import {
  accountMatch,
  cidrBlock,
  headerMatch,
  hostMatch,
  identityMatch,
  namespaceMatch,
  serverNameMatch,
} from './policy-values.js';

/** The default root namespace, whose policies apply to the whole mesh. On Kubernetes the settings name the control plane's own namespace. */
export const rootNamespace = 'weft-system';

const strictPrefix = 'weft-strict-';

/** The HTTP conditions of a target; undefined if it has none. */
function httpMatch(target: PolicyTarget): HttpMatch | undefined {
  const headers = (target.headers ?? []).flatMap(({ name: given, values, notValues }) => {
    const name = given.toLowerCase();
    const match = (value: string) => headerMatch('headers', name, value);
    const is = { name, values: all(values ?? (notValues ? undefined : ['*']), match), negated: false };
    const isNot = { name, values: all(notValues, match), negated: true };
    return [is, isNot].filter((one) => one.values.length > 0);
  });
  const match: HttpMatch = {
    methods: target.methods ?? [],
    notMethods: target.notMethods ?? [],
    paths: all(target.paths, (value) => policyPath('paths', value)),
    notPaths: all(target.notPaths, (value) => policyPath('notPaths', value)),
    hosts: all(target.hosts, (value) => hostMatch('hosts', value)),
    notHosts: all(target.notHosts, (value) => hostMatch('notHosts', value)),
    headers,
  };
  return Object.values(match).some((values: readonly unknown[]) => values.length > 0) ? match : undefined;
}

/** The TLS conditions of a target; undefined if it has none. */
function tlsMatch({ sni, notSni }: PolicyTarget): TlsMatch | undefined {
  if (!sni && !notSni) return undefined;
  return {
    serverNames: all(sni, (value) => serverNameMatch('sni', value)),
    notServerNames: all(notSni, (value) => serverNameMatch('notSni', value)),
  };
}

/** Whether the policy has HTTP or TLS conditions or targets Services, so that only a waypoint can evaluate it. */
export const readsRequests = ({ spec }: AccessPolicyObject): boolean =>
  spec.targetRefs !== undefined ||
  spec.rules.some(
    ({ from, to }) =>
      (to ?? []).some((target) => httpMatch(target) ?? tlsMatch(target)) ||
      (from ?? []).some((source) => sourceHttp(source)),
  );

/** The HTTP conditions of a source; undefined if it has none. */
function sourceHttp({ jwt, remoteCidrs, notRemoteCidrs }: PolicySource): HttpMatch | undefined {
  const remoteIps = all(remoteCidrs, cidrBlock('remoteCidrs'));
  const notRemoteIps = all(notRemoteCidrs, cidrBlock('notRemoteCidrs'));
  const claims = jwt ? claimMatches(jwt) : [];
  if (claims.length + remoteIps.length + notRemoteIps.length === 0) return undefined;
  return { ...emptyHttpMatch, claims, remoteIps, notRemoteIps };
}

const all = <A, B>(values: readonly A[] | undefined, make: (value: A) => B): B[] => (values ?? []).map(make);

/** The policy's name as a resource. The closed form of an unreadable policy must not take a reserved name of strict mode, either. */
export function nameOfPolicy({
  metadata,
  invalid,
}: AccessPolicyObject): Pick<AuthorizationPolicy, 'key' | 'name' | 'namespace'> {
  const namespace = metadata.namespace ?? 'default';
  const isReserved = invalid !== undefined && metadata.name.startsWith(strictPrefix);
  const name = isReserved ? `weft-invalid-${metadata.name}` : metadata.name;
  return { key: `${namespace}/${name}` as PolicyKey, name, namespace };
}

/**
 * Compiles an AccessPolicy. Errors name the field that cannot be read.
 * @param root the namespace whose policies apply to the whole mesh
 */
export function compilePolicy(policy: AccessPolicyObject, root: string): AuthorizationPolicy {
  const namespace = policy.metadata.namespace ?? 'default';
  const { spec } = policy;
  // A policy of that name would replace strict mode.
  if (policy.metadata.name.startsWith(strictPrefix) && policy.invalid === undefined)
    throw new Error(`metadata.name: names that begin with ${strictPrefix} are reserved for strict mode`);
  if (spec.selector && spec.targetRefs && policy.invalid === undefined)
    throw new Error('spec: give either selector or targetRefs');
  const services = all(spec.targetRefs, ({ name }) => `${namespace}/${name}.${namespace}.svc.cluster.local`);
  return {
    ...nameOfPolicy(policy),
    // A policy that targets Services has the scope of a workload policy: no workload references it, so that nodes do not apply it.
    scope: spec.selector || spec.targetRefs ? 'workload' : namespace === root ? 'global' : 'namespace',
    services,
    action: spec.action === 'ALLOW' ? 'allow' : 'deny',
    dryRun: spec.mode === 'audit',
    rules: spec.rules.map(({ from, to }) => {
      const sources = all(from, (source): PolicyMatch => {
        const http = sourceHttp(source);
        return {
          ...emptyMatch,
          principals: all(source.identities, (value) => identityMatch('identities', value)),
          notPrincipals: all(source.notIdentities, (value) => identityMatch('notIdentities', value)),
          namespaces: all(source.namespaces, (value) => namespaceMatch('namespaces', value)),
          notNamespaces: all(source.notNamespaces, (value) => namespaceMatch('notNamespaces', value)),
          serviceAccounts: all(source.serviceAccounts, (value) => accountMatch('serviceAccounts', value)),
          notServiceAccounts: all(source.notServiceAccounts, (value) =>
            accountMatch('notServiceAccounts', value),
          ),
          sourceIps: all(source.cidrs, cidrBlock('cidrs')),
          notSourceIps: all(source.notCidrs, cidrBlock('notCidrs')),
          ...(http ? { http } : {}),
        };
      });
      const targets = all(to, (target) => {
        const [http, tls] = [httpMatch(target), tlsMatch(target)];
        return {
          ...emptyMatch,
          destinationPorts: [...(target.ports ?? [])],
          notDestinationPorts: [...(target.notPorts ?? [])],
          destinationIps: all(target.cidrs, cidrBlock('cidrs')),
          notDestinationIps: all(target.notCidrs, cidrBlock('notCidrs')),
          ...(http ? { http } : {}),
          ...(tls ? { tls } : {}),
        };
      });
      return {
        clauses: [sources, targets].filter((matches) => matches.length > 0).map((matches) => ({ matches })),
      };
    }),
  };
}

/** Matches clients without an identity: strict mode denies them. */
export const plaintextMatch: PolicyMatch = { ...emptyMatch, notPrincipals: [{ kind: 'presence' }] };

/** The policy of strict mode: clients without an identity are denied. Every node proxy that reads Authorization enforces it. */
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
    rules: [{ clauses: [{ matches: [plaintextMatch] }] }],
  };
}
