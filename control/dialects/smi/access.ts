/** Compiles a TrafficTarget to the policy that pods of its destination have. Pure. */
import { errorText } from '../../../src/base/errors.js';
import { namespaceOf } from '../../../src/model/labels.js';
import {
  emptyMatch,
  type AuthorizationPolicy,
  type PolicyKey,
  type PolicyMatch,
} from '../../../src/model/policy.js';
import type { Problem } from '../../registry/claims.js';
import type { SmiObject, TrafficTargetRule, TrafficTargetSpec } from '../../objects/objects.js';
import { policyMatchOf } from './route-group.js';
import { checkVersion, destinationOf, matchesOfGroup, portsOfRoute, targetSpec } from './specs.js';

export interface AccessLookup {
  readonly group: (namespace: string, name: string) => SmiObject<'HTTPRouteGroup'> | undefined;
  readonly ports: (namespace: string, name: string) => SmiObject<'SmiTCPRoute'> | undefined;
}

export interface CompiledTarget {
  readonly policy?: AuthorizationPolicy;
  readonly problem?: Problem;
}

/** The name of the policy. No object's name has a colon, so no other policy has this name. */
export const policyNameOf = ({ metadata }: SmiObject<'TrafficTarget'>): string =>
  `TrafficTarget:${metadata.name}`;
export const policyKeyOf = (object: SmiObject<'TrafficTarget'>): PolicyKey =>
  `${namespaceOf(object)}/${policyNameOf(object)}` as PolicyKey;

type Rule = AuthorizationPolicy['rules'][number];

/** Error: the field that cannot be read. An `invalid` object allows nothing. */
export function compileTarget(object: SmiObject<'TrafficTarget'>, lookup: AccessLookup): CompiledTarget {
  const own = namespaceOf(object);
  const { namespace, account } = destinationOf(object);
  if (namespace !== own)
    return {
      problem: {
        reason: 'ForeignNamespace',
        message: `the destination is in namespace ${namespace}: a TrafficTarget protects only pods of its own namespace, ${own}; it has no effect`,
      },
    };
  const policy = (rules: readonly Rule[]): AuthorizationPolicy => ({
    key: policyKeyOf(object),
    name: policyNameOf(object),
    namespace: own,
    // Pods of the service account name the policy. If the account is unknown, the object may be meant for any pod of its namespace.
    scope: account === undefined ? 'namespace' : 'workload',
    services: [],
    action: 'allow',
    dryRun: false,
    rules,
  });
  if (object.invalid !== undefined) return { policy: policy([]) };
  checkVersion(object);
  const spec = targetSpec(object);
  if (account === undefined)
    throw new Error(
      `destination.kind: only ServiceAccount is supported, not ${JSON.stringify(spec.destination.kind)}`,
    );
  const problems: string[] = [];
  const clients = clientsOf(spec, own, problems);
  const targets = targetsOf(spec, own, lookup, problems);
  const rules = clients ? targets.map((matches) => ruleOf(clients, matches)) : [];
  return {
    policy: policy(rules),
    ...(problems.length > 0
      ? {
          problem: {
            reason: rules.length > 0 ? 'PartiallyInvalid' : 'AllowsNothing',
            message: problems.join('; '),
          },
        }
      : {}),
  };
}

/** @param matches empty: every connection */
const ruleOf = (clients: PolicyMatch, matches: readonly PolicyMatch[]): Rule => ({
  clauses: [{ matches: [clients] }, ...(matches.length > 0 ? [{ matches }] : [])],
});

/** The clients; undefined: nobody. */
function clientsOf(
  { sources = [] }: TrafficTargetSpec,
  own: string,
  problems: string[],
): PolicyMatch | undefined {
  const serviceAccounts = sources.flatMap(({ kind, name, namespace }, index) => {
    if (kind === 'ServiceAccount')
      return [
        { namespace: namespace === undefined || namespace === '' ? own : namespace, serviceAccount: name },
      ];
    problems.push(`sources[${index}].kind: only ServiceAccount is supported, not ${JSON.stringify(kind)}`);
    return [];
  });
  if (sources.length === 0) problems.push('sources: there are none, so nobody is allowed');
  return serviceAccounts.length > 0 ? { ...emptyMatch, serviceAccounts } : undefined;
}

/**
 * What the clients may ask, one list for each rule of the policy; an empty list: everything. TCPRoutes state the ports, and HTTPRouteGroups
 * the requests on them: with both, a request has to meet one of each (the specification's example).
 */
function targetsOf(
  { rules = [], destination }: TrafficTargetSpec,
  namespace: string,
  lookup: AccessLookup,
  problems: string[],
): readonly (readonly PolicyMatch[])[] {
  if (rules.length === 0) problems.push('rules: there are none, so nothing is allowed');
  const onPorts = portsOf(rules, namespace, lookup, problems);
  const destinationPorts = intersection(onPorts, destination.port === undefined ? 'all' : [destination.port]);
  const isHttp = rules.some(({ kind }) => kind === 'HTTPRouteGroup');
  if (destinationPorts !== 'all' && destinationPorts.length === 0) {
    if (onPorts !== 'all' && onPorts.length > 0) problems.push('destination.port: no TCPRoute has the port');
    return [];
  }
  const base: PolicyMatch = { ...emptyMatch, ...(destinationPorts === 'all' ? {} : { destinationPorts }) };
  if (!isHttp) {
    // A TrafficTarget of UDPRoutes alone allows no connection.
    if (!rules.some(({ kind }) => kind === 'TCPRoute')) return [];
    return [destinationPorts === 'all' ? [] : [base]];
  }
  return rules.flatMap((rule, index) => {
    if (rule.kind !== 'HTTPRouteGroup') return [];
    const matches = requestsOf(rule, `rules[${index}]`, namespace, lookup, problems);
    return matches.length > 0 ? [matches.map((http): PolicyMatch => ({ ...base, http }))] : [];
  });
}

type Ports = 'all' | readonly number[];
const intersection = (a: Ports, b: Ports): Ports =>
  a === 'all' ? b : b === 'all' ? a : a.filter((port) => b.includes(port));

/** The ports of the TCPRoutes; all if the object names no TCPRoute. */
function portsOf(
  rules: readonly TrafficTargetRule[],
  namespace: string,
  lookup: AccessLookup,
  problems: string[],
): Ports {
  const named = rules.flatMap((rule, index) => (rule.kind === 'TCPRoute' ? [{ rule, index }] : []));
  if (named.length === 0) return 'all';
  const found = named.flatMap(({ rule: { name }, index }): Ports[] => {
    const route = lookup.ports(namespace, name);
    if (route?.invalid === undefined && route) {
      const ports = portsOfRoute(route);
      return [ports.length > 0 ? ports : 'all'];
    }
    problems.push(
      `rules[${index}]: TCPRoute ${namespace}/${name} ${route ? `cannot be read (${route.invalid})` : 'does not exist'}, so it allows nothing`,
    );
    return [];
  });
  return found.includes('all')
    ? 'all'
    : [...new Set(found.flatMap((one) => (one === 'all' ? [] : [...one])))];
}

/** The requests that an HTTPRouteGroup, or some of its matches, stand for. Empty: none. */
function requestsOf(
  { name, matches = [] }: TrafficTargetRule,
  field: string,
  namespace: string,
  lookup: AccessLookup,
  problems: string[],
): readonly NonNullable<PolicyMatch['http']>[] {
  const group = lookup.group(namespace, name);
  if (!group || group.invalid !== undefined) {
    problems.push(
      `${field}: HTTPRouteGroup ${namespace}/${name} ${group ? `cannot be read (${group.invalid})` : 'does not exist'}, so it allows nothing`,
    );
    return [];
  }
  const all = matchesOfGroup(group);
  const known = new Set(all.map((match) => match.name));
  const wanted = new Set(matches);
  for (const one of wanted)
    if (!known.has(one)) problems.push(`${field}: HTTPRouteGroup ${namespace}/${name} has no match ${one}`);
  return all
    .filter((one) => wanted.size === 0 || wanted.has(one.name))
    .flatMap((one) => {
      try {
        return [policyMatchOf(one, `matches ${one.name}`)];
      } catch (error) {
        problems.push(`${field}: ${errorText(error)}, so it allows nothing`);
        return [];
      }
    });
}
