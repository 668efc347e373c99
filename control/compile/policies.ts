/** AccessPolicy and strict mode as istio.security.Authorization. */
import { parseCidr } from '../../src/model/address.js';
import type {
  AuthorizationPolicy,
  HttpMatch,
  PolicyKey,
  PolicyMatch,
  PolicyPath,
  StringMatch,
} from '../../src/model/policy.js';
import type { AccessPolicyObject, PolicyTarget } from './objects.js';

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

const text = (value: string): StringMatch => plainText(value.replace(/^spiffe:\/\//, ''));

/** `*` alone: any that is there; at an end: prefix or suffix. */
function plainText(bare: string): StringMatch {
  if (bare === '*') return { kind: 'presence' };
  if (bare.endsWith('*')) return { kind: 'prefix', value: bare.slice(0, -1) };
  if (bare.startsWith('*')) return { kind: 'suffix', value: bare.slice(1) };
  return { kind: 'exact', value: bare };
}

function account(value: string): { namespace: string; serviceAccount: string } {
  const [namespace = '', serviceAccount = ''] = value.split('/');
  return { namespace, serviceAccount };
}

/** A policy that can never match is a mistake, and one that denies nothing a hole. */
const wrong = (field: string, value: string, why: string): Error =>
  new Error(`${field}: ${JSON.stringify(value)}: ${why}`);

function template(value: string): PolicyPath {
  const parts = value.slice(1).split('/');
  const segments = parts.map((part, index) => {
    if (part === '{*}') return '*';
    if (part === '{**}') {
      if (index === parts.length - 1) return '**';
      throw wrong('paths', value, '{**} stands for all that follows: it has to be last');
    }
    if (/[*{}]/.test(part))
      throw wrong('paths', value, 'a segment is a text, {*} for any one, or as the last {**} for all others');
    return part;
  });
  return { kind: 'template', segments };
}

/** `/exact`, `/prefix*`, `*suffix`, `*`, or a template whose segments are texts, `{*}` and as the last `{**}`. */
function path(value: string): PolicyPath {
  if (/[?#]/.test(value)) throw wrong('paths', value, 'a path ends before ? and #');
  if (!value.startsWith('/') && !value.startsWith('*'))
    throw wrong('paths', value, 'it has to begin with / or *');
  if (/[{}]/.test(value)) {
    if (value.startsWith('/')) return template(value);
    throw wrong('paths', value, 'a template has to begin with /');
  }
  if (/.\*./.test(value) || (value.length > 1 && value.startsWith('*') && value.endsWith('*')))
    throw wrong('paths', value, '* may stand at one end; within a path write {*} for a segment');
  if (value.endsWith('*')) return { kind: 'prefix', value: value.slice(0, -1) };
  if (value.startsWith('*')) return { kind: 'suffix', value: value.slice(1) };
  return { kind: 'exact', value };
}

function host(value: string): StringMatch {
  if (/(^|[^:]):\d+$/.test(value)) throw wrong('hosts', value, 'a host is named without its port');
  return plainText(value.toLowerCase());
}

/** Undefined where a rule says nothing of requests. */
function httpMatch(target: PolicyTarget): HttpMatch | undefined {
  const headers = (target.headers ?? []).flatMap(({ name: given, values, notValues }) => {
    const name = given.toLowerCase();
    const is = { name, values: all(values ?? (notValues ? undefined : ['*']), plainText), negated: false };
    const isNot = { name, values: all(notValues, plainText), negated: true };
    return [is, isNot].filter((one) => one.values.length > 0);
  });
  const match: HttpMatch = {
    methods: target.methods ?? [],
    notMethods: target.notMethods ?? [],
    paths: all(target.paths, path),
    notPaths: all(target.notPaths, path),
    hosts: all(target.hosts, host),
    notHosts: all(target.notHosts, host),
    headers,
  };
  return Object.values(match).some((values: readonly unknown[]) => values.length > 0) ? match : undefined;
}

/** Whether only who reads requests can judge it. */
export const readsRequests = ({ spec }: AccessPolicyObject): boolean =>
  spec.targetRefs !== undefined ||
  spec.rules.some(({ to }) => (to ?? []).some((target) => httpMatch(target)));

const all = <A, B>(values: readonly A[] | undefined, make: (value: A) => B): B[] => (values ?? []).map(make);

export function compilePolicy(policy: AccessPolicyObject): AuthorizationPolicy {
  const namespace = policy.metadata.namespace ?? 'default';
  const { spec } = policy;
  // One of that name would stand in the place of strict mode.
  if (policy.metadata.name.startsWith(strictPrefix))
    throw new Error(`names that begin with ${strictPrefix} are those of strict mode itself`);
  if (spec.selector && spec.targetRefs) throw new Error('spec: give either selector or targetRefs');
  const services = all(spec.targetRefs, ({ name }) => `${namespace}/${name}.${namespace}.svc.cluster.local`);
  return {
    key: `${namespace}/${policy.metadata.name}` as PolicyKey,
    name: policy.metadata.name,
    namespace,
    // Of Services: no workload names it, so that nodes apply it to none.
    scope:
      spec.selector || spec.targetRefs ? 'workload' : namespace === rootNamespace ? 'global' : 'namespace',
    services,
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
      const targets = all(to, (target) => {
        const http = httpMatch(target);
        return {
          ...nothing,
          destinationPorts: [...(target.ports ?? [])],
          notDestinationPorts: [...(target.notPorts ?? [])],
          destinationIps: all(target.cidrs, parseCidr),
          notDestinationIps: all(target.notCidrs, parseCidr),
          ...(http ? { http } : {}),
        };
      });
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
