/** Authorization policies as they come over discovery. What is not understood of one denies, within what the policy is for. */
import { errorText, type Decoded } from '../base/errors.js';
import { ipFromBytes, type Cidr } from '../model/address.js';
import {
  emptyMatch,
  isEmptyMatch,
  type AuthorizationPolicy,
  type HttpMatch,
  type PolicyKey,
  type PolicyMatch,
  type PolicyPath,
  type StringMatch,
} from '../model/policy.js';
import * as pbAuth from './gen/authorization.js';
import { strict, unknownFields, type ReadResult, type Shape } from './reading.js';

function need(value: string, field: string): string {
  if (value === '') throw new Error(`${field} is empty`);
  return value;
}

function stringMatch(match: pbAuth.StringMatch): StringMatch {
  // A kind of a later version must not be skipped: a DENY would no longer deny.
  if (!match.matchType) throw new Error('string match of an unknown kind');
  if (match.matchType.$case === 'presence') return { kind: 'presence' };
  return { kind: match.matchType.$case, value: match.matchType.value };
}

function block({ address, length }: pbAuth.Address): Cidr {
  const ip = ipFromBytes(address);
  if (length > address.length * 8) throw new Error(`prefix length ${length} is out of range`);
  return { ip, prefixLength: length };
}

function layer4(m: pbAuth.Match): PolicyMatch {
  return {
    namespaces: m.namespaces.map(stringMatch),
    notNamespaces: m.notNamespaces.map(stringMatch),
    principals: m.principals.map(stringMatch),
    notPrincipals: m.notPrincipals.map(stringMatch),
    sourceIps: m.sourceIps.map(block),
    notSourceIps: m.notSourceIps.map(block),
    destinationIps: m.destinationIps.map(block),
    notDestinationIps: m.notDestinationIps.map(block),
    destinationPorts: m.destinationPorts,
    notDestinationPorts: m.notDestinationPorts,
    serviceAccounts: m.serviceAccounts,
    notServiceAccounts: m.notServiceAccounts,
  };
}

function path({ path: message }: pbAuth.PathMatch): PolicyPath {
  if (!message) throw new Error('path match of an unknown kind');
  if (message.$case !== 'template') return { kind: message.$case, value: message.value };
  const { segments } = message.value;
  if (segments.length === 0) throw new Error('path template without segments');
  if (segments.slice(0, -1).includes('**')) throw new Error('** is not the last segment of its template');
  return { kind: 'template', segments };
}

const http = (m: pbAuth.HttpMatch): HttpMatch => ({
  methods: m.methods,
  notMethods: m.notMethods,
  paths: m.paths.map(path),
  notPaths: m.notPaths.map(path),
  hosts: m.hosts.map(stringMatch),
  notHosts: m.notHosts.map(stringMatch),
  headers: m.headers.map(({ name, values, negated }) => ({
    name: need(name, 'header name'),
    values: values.map(stringMatch),
    negated,
  })),
});

/** What stands beside `weft` is for those who do not know it. */
function match(m: pbAuth.Match): PolicyMatch {
  if (!m.weft) return layer4(m);
  if (!m.weft.match || m.weft.match.weft) throw new Error("weft's match is none");
  return { ...layer4(m.weft.match), ...(m.weft.http ? { http: http(m.weft.http) } : {}) };
}

const policyScopes: readonly AuthorizationPolicy['scope'][] = ['global', 'namespace', 'workload'];
const policyActions: readonly AuthorizationPolicy['action'][] = ['allow', 'deny'];

const leaf = (...fields: readonly number[]): (() => Shape) => {
  const shape = Object.fromEntries(fields.map((field) => [field, true as const]));
  return () => shape;
};
const text = leaf(1, 2, 3, 4);
const range = leaf(1, 2);
const path_ = (): Shape => ({ 1: true, 2: true, 3: true, 4: leaf(1) });
const header = (): Shape => ({ 1: true, 2: text, 3: true });
const httpShape = (): Shape => ({ 1: true, 2: true, 3: path_, 4: path_, 5: text, 6: text, 7: header });
const matchShape = (): Shape => ({
  ...{ 1: text, 2: text, 3: text, 4: text },
  ...{ 5: range, 6: range, 7: range, 8: range, 9: true, 10: true, 11: range, 12: range },
  1000: () => ({ 1: matchShape, 2: httpShape }),
});
/** By field number, as in proto/authorization.proto. */
const authorizationShape: Shape = {
  ...{ 1: true, 2: true, 3: true, 4: true, 6: true, 1000: true },
  5: () => ({ 1: () => ({ 2: matchShape }) }),
};

/** Holds for every connection: none goes to port 0, and a match without fields would be passed over. */
const always: PolicyMatch = { ...emptyMatch, notDestinationPorts: [0] };
const never: PolicyMatch = {
  ...emptyMatch,
  principals: [{ kind: 'presence' }],
  notPrincipals: [{ kind: 'presence' }],
};

type Rule = AuthorizationPolicy['rules'][number];

/** The rules; of what is not understood in them, one that allows never holds and one that denies always does. */
function rulesOf(
  rules: readonly pbAuth.Rule[],
  denies: boolean,
  unknown: readonly string[],
  problem: (text: string) => void,
): Rule[] {
  const worst = denies ? always : never;
  /** A field of this very message, not of one in it. */
  const own = (at: string): boolean =>
    unknown.some((path) => path.startsWith(at) && !path.slice(at.length).includes('/'));
  return rules.map(({ clauses }, r) => {
    if (own(`5.${r}/`)) return { clauses: [{ matches: [worst] }] };
    return {
      clauses: clauses.map(({ matches }, c) => {
        const at = `5.${r}/1.${c}/`;
        if (own(at)) return { matches: [worst] };
        return {
          matches: matches.map((one, m) => {
            const inPart = unknown.some((path) => path.startsWith(`${at}2.${m}/`));
            try {
              const known = match(one);
              if (!inPart) return known;
              // A further restriction: without it a match holds for more, which is right where it denies.
              return denies && !isEmptyMatch(known) ? known : worst;
            } catch (error) {
              problem(errorText(error));
              return worst;
            }
          }),
        };
      }),
    };
  });
}

/**
 * A policy, closed where it is not understood: its rules as rulesOf() says; as a whole (action, a field of its own) it denies all in its
 * scope; a scope that is not understood is its namespace, and the mesh where that is the root namespace; a policy of which nothing can
 * be read denies in the namespace that the resource's name has.
 * @param name of the resource, `<namespace>/<name>`
 * @param root the root namespace, whose policies are the mesh's
 */
export function readAuthorization(
  name: string,
  bytes: Uint8Array,
  root: string,
): ReadResult<AuthorizationPolicy> {
  const problems: string[] = [];
  const problem = (text: string): void => void (problems.includes(text) || problems.push(text));
  const slash = name.indexOf('/');
  const named = { namespace: name.slice(0, Math.max(slash, 0)), name: name.slice(slash + 1) };
  let message: pbAuth.Authorization;
  let unknown: readonly string[] = [];
  try {
    message = pbAuth.Authorization.decode(bytes);
    unknown = unknownFields(bytes, authorizationShape);
  } catch (error) {
    if (named.name === '') return { value: undefined, problems: [errorText(error)] };
    problem(errorText(error));
    // Wider than the policy was, perhaps: nobody can tell.
    message = {
      ...pbAuth.Authorization.create(),
      ...named,
      scope: -1 as pbAuth.Scope,
      action: -1 as pbAuth.Action,
    };
  }
  if (message.name === '') {
    problem('name is empty');
    if (named.name === '') return { value: undefined, problems };
    message = { ...message, ...named };
  }
  for (const path of unknown) problem(`field ${path} is not known`);
  let scope = policyScopes[message.scope];
  if (!scope) {
    problem('scope of an unknown kind');
    scope = message.namespace === root || message.namespace === '' ? 'global' : 'namespace';
  }
  const action = policyActions[message.action];
  if (!action) problem('action of an unknown kind');
  const isWhole = action !== undefined && !unknown.some((path) => !path.includes('/'));
  const rules = isWhole ? rulesOf(message.rules, action === 'deny', unknown, problem) : [{ clauses: [] }];
  const value: AuthorizationPolicy = {
    key: `${message.namespace}/${message.name}` as PolicyKey,
    name: message.name,
    namespace: message.namespace,
    scope,
    action: isWhole ? action : 'deny',
    rules,
    services: message.weftServices,
    dryRun: message.dryRun,
  };
  return { value, problems };
}

/** A policy that is understood as a whole. */
export function decodeAuthorization(bytes: Uint8Array): Decoded<AuthorizationPolicy> {
  return strict(readAuthorization('', bytes, ''));
}
