/**
 * Codec of authorization policies (istio.security.Authorization): the control plane encodes, its clients decode. Parts of a policy that
 * cannot be decoded deny, within the scope of the policy.
 */
import { errorText, type Decoded } from '../../base/errors.js';
import { ipFromBytes, type Cidr } from '../../model/address.js';
import {
  alwaysMatch as always,
  isEmptyMatch,
  neverMatch as never,
  type AuthorizationPolicy,
  type ClaimMatch,
  type ClaimValue,
  type HttpMatch,
  type PolicyKey,
  type PolicyMatch,
  type PolicyPath,
  type StringMatch,
  type TlsMatch,
} from '../../model/policy.js';
import * as pb from '../gen/authorization.js';
import { authorizationShape } from '../gen/shapes.js';
import { bytesOf, namesOf, need, strict, type ReadResult } from './decoding.js';
import { unknownFields, unknownText, type UnknownField } from './unknown-fields.js';

type Scope = AuthorizationPolicy['scope'];
type Action = AuthorizationPolicy['action'];
const scopes: Readonly<Record<Scope, pb.Scope>> = {
  global: pb.Scope.GLOBAL,
  namespace: pb.Scope.NAMESPACE,
  workload: pb.Scope.WORKLOAD_SELECTOR,
};
const actions: Readonly<Record<Action, pb.Action>> = { allow: pb.Action.ALLOW, deny: pb.Action.DENY };
const scopeNames = namesOf(scopes);
const actionNames = namesOf(actions);

const encodeString = (m: StringMatch): pb.StringMatch => ({
  matchType: m.kind === 'presence' ? { $case: 'presence', value: {} } : { $case: m.kind, value: m.value },
});
const encodeBlock = (c: Cidr): pb.Address => ({ address: bytesOf(c.ip), length: c.prefixLength });

const encodeLayer4 = ({ http: _, tls: _tls, ...m }: PolicyMatch): pb.Match => ({
  ...m,
  namespaces: m.namespaces.map(encodeString),
  notNamespaces: m.notNamespaces.map(encodeString),
  principals: m.principals.map(encodeString),
  notPrincipals: m.notPrincipals.map(encodeString),
  sourceIps: m.sourceIps.map(encodeBlock),
  notSourceIps: m.notSourceIps.map(encodeBlock),
  destinationIps: m.destinationIps.map(encodeBlock),
  notDestinationIps: m.notDestinationIps.map(encodeBlock),
  weft: undefined,
});

const encodePath = (p: PolicyPath): pb.PathMatch => ({
  path: p.kind === 'template' ? { $case: 'template', value: p } : { $case: p.kind, value: p.value },
});
const encodeClaim = (one: ClaimValue): pb.ClaimValue => {
  if (one.kind === 'number') return { value: { $case: 'number', value: one.value } };
  if (one.kind === 'boolean') return { value: { $case: 'boolean', value: one.value } };
  return { value: { $case: 'text', value: encodeString(one) } };
};
const encodeHttp = (m: HttpMatch): pb.HttpMatch => ({
  ...m,
  paths: m.paths.map(encodePath),
  notPaths: m.notPaths.map(encodePath),
  hosts: m.hosts.map(encodeString),
  notHosts: m.notHosts.map(encodeString),
  headers: m.headers.map(({ name, values, negated }) => ({
    name,
    negated,
    values: values.filter((one) => one.kind !== 'regex').map(encodeString),
    regexes: values.flatMap((one) => (one.kind === 'regex' ? [one.value] : [])),
  })),
  parameters: m.parameters ?? [],
  claims: (m.claims ?? []).map(({ path, values, negated }) => ({
    path,
    values: values.map(encodeClaim),
    negated,
  })),
  remoteIps: (m.remoteIps ?? []).map(encodeBlock),
  notRemoteIps: (m.notRemoteIps ?? []).map(encodeBlock),
});

const encodeTls = (m: TlsMatch): pb.TlsMatch => ({
  serverNames: m.serverNames.map(encodeString),
  notServerNames: m.notServerNames.map(encodeString),
});

/**
 * A reader that does not know the field `weft` sees only the layer 4 fields. These must allow nothing that the match would not allow, and
 * deny everything that the match could deny.
 */
function encodeMatch(m: PolicyMatch, action: AuthorizationPolicy['action']): pb.Match {
  const real = encodeLayer4(m);
  if (!m.http && !m.tls) return real;
  const weft = { match: real, http: m.http && encodeHttp(m.http), tls: m.tls && encodeTls(m.tls) };
  if (action === 'allow') {
    return { ...encodeLayer4(never), weft };
  }
  const { http: _, tls: _tls, ...layer4 } = m;
  // Other readers ignore an empty match.
  return { ...(isEmptyMatch(layer4) ? encodeLayer4(always) : real), weft };
}

export function encodeAuthorization(p: AuthorizationPolicy): Uint8Array {
  return pb.Authorization.encode({
    ...p,
    scope: scopes[p.scope],
    action: actions[p.action],
    rules: p.rules.map(({ clauses }) => ({
      clauses: clauses.map(({ matches }) => ({ matches: matches.map((one) => encodeMatch(one, p.action)) })),
    })),
    weftServices: p.services,
    weftStillAllows: p.stillAllows === true,
  }).finish();
}

function decodeString(match: pb.StringMatch): StringMatch {
  // A kind of a newer version must not be skipped: a DENY would no longer deny.
  if (!match.matchType) throw new Error('string match of an unknown kind');
  if (match.matchType.$case === 'presence') return { kind: 'presence' };
  return { kind: match.matchType.$case, value: match.matchType.value };
}

function decodeBlock({ address, length }: pb.Address): Cidr {
  const ip = ipFromBytes(address);
  if (length > address.length * 8) throw new Error(`prefix length ${length} is out of range`);
  return { ip, prefixLength: length };
}

/** Copies field by field without a spread: a field that only the message has would make an empty match look non-empty, unchecked. */
function decodeLayer4(m: pb.Match): PolicyMatch {
  return {
    namespaces: m.namespaces.map(decodeString),
    notNamespaces: m.notNamespaces.map(decodeString),
    principals: m.principals.map(decodeString),
    notPrincipals: m.notPrincipals.map(decodeString),
    sourceIps: m.sourceIps.map(decodeBlock),
    notSourceIps: m.notSourceIps.map(decodeBlock),
    destinationIps: m.destinationIps.map(decodeBlock),
    notDestinationIps: m.notDestinationIps.map(decodeBlock),
    destinationPorts: m.destinationPorts,
    notDestinationPorts: m.notDestinationPorts,
    serviceAccounts: m.serviceAccounts,
    notServiceAccounts: m.notServiceAccounts,
  };
}

function decodePath({ path: message }: pb.PathMatch): PolicyPath {
  if (!message) throw new Error('path match of an unknown kind');
  if (message.$case !== 'template') return { kind: message.$case, value: message.value };
  const { segments } = message.value;
  if (segments.length === 0) throw new Error('path template without segments');
  if (segments.slice(0, -1).includes('**')) throw new Error('** is not the last segment of its template');
  return { kind: 'template', segments };
}

function decodeClaim({ value }: pb.ClaimValue): ClaimValue {
  if (!value) throw new Error('claim value of an unknown kind');
  if (value.$case === 'text') return decodeString(value.value);
  return value.$case === 'number'
    ? { kind: 'number', value: value.value }
    : { kind: 'boolean', value: value.value };
}

function decodeClaims({ path, values, negated }: pb.ClaimMatch): ClaimMatch {
  if (path.length === 0) throw new Error('claim without a name');
  return { path, values: values.map(decodeClaim), negated };
}

const decodeHttp = (m: pb.HttpMatch): HttpMatch => ({
  methods: m.methods,
  notMethods: m.notMethods,
  paths: m.paths.map(decodePath),
  notPaths: m.notPaths.map(decodePath),
  hosts: m.hosts.map(decodeString),
  notHosts: m.notHosts.map(decodeString),
  headers: m.headers.map(({ name, values, negated, regexes }) => ({
    name: need(name, 'header name'),
    values: [...values.map(decodeString), ...regexes.map((value) => ({ kind: 'regex' as const, value }))],
    negated,
  })),
  ...(m.parameters.length > 0 ? { parameters: m.parameters } : {}),
  ...(m.claims.length > 0 ? { claims: m.claims.map(decodeClaims) } : {}),
  ...(m.remoteIps.length > 0 ? { remoteIps: m.remoteIps.map(decodeBlock) } : {}),
  ...(m.notRemoteIps.length > 0 ? { notRemoteIps: m.notRemoteIps.map(decodeBlock) } : {}),
});

const decodeTls = (m: pb.TlsMatch): TlsMatch => ({
  serverNames: m.serverNames.map(decodeString),
  notServerNames: m.notServerNames.map(decodeString),
});

/** If `weft` is set, the other fields are for readers that do not know it and are ignored. */
function decodeMatch(m: pb.Match): PolicyMatch {
  if (!m.weft) return decodeLayer4(m);
  if (!m.weft.match || m.weft.match.weft) throw new Error("weft's match is none");
  const { http, tls } = m.weft;
  return {
    ...decodeLayer4(m.weft.match),
    ...(http ? { http: decodeHttp(http) } : {}),
    ...(tls ? { tls: decodeTls(tls) } : {}),
  };
}

type Rule = AuthorizationPolicy['rules'][number];

/** Decodes the rules. A part that cannot be decoded never matches in a rule that allows and always matches in a rule that denies. */
function rulesOf(
  rules: readonly pb.Rule[],
  denies: boolean,
  unknown: readonly string[],
  problem: (text: string) => void,
): Rule[] {
  const worst = denies ? always : never;
  /** Whether the message at this path itself has an unknown field, not a message nested in it. */
  const isUnknownIn = (at: string): boolean =>
    unknown.some((path) => path.startsWith(at) && !path.slice(at.length).includes('/'));
  return rules.map(({ clauses }, r) => {
    if (isUnknownIn(`5.${r}/`)) return { clauses: [{ matches: [worst] }] };
    return {
      clauses: clauses.map(({ matches }, c) => {
        const at = `5.${r}/1.${c}/`;
        if (isUnknownIn(at)) return { matches: [worst] };
        return {
          matches: matches.map((one, m) => {
            const inPart = unknown.some((path) => path.startsWith(`${at}2.${m}/`));
            try {
              const known = decodeMatch(one);
              if (!inPart) return known;
              // The unknown field is a further restriction. Without it the match covers more, which is safe if it denies.
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
 * Reads a policy and closes the parts that cannot be decoded. Rules are closed by rulesOf(). With an unknown action or an unknown field of
 * the policy itself, the policy denies everything in its scope. An unknown scope becomes the policy's namespace, or the mesh if that is
 * the root namespace. A policy of which nothing can be read denies in the namespace of the resource name.
 * @param name the resource name, `<namespace>/<name>`
 * @param root the root namespace, whose policies apply to the mesh
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
  let message: pb.Authorization;
  let unknownParts: readonly UnknownField[] = [];
  try {
    message = pb.Authorization.decode(bytes);
    unknownParts = unknownFields(bytes, authorizationShape);
  } catch (error) {
    if (named.name === '') return { value: undefined, problems: [errorText(error)] };
    problem(errorText(error));
    // This may deny more than the policy did, but its content is unknown.
    message = {
      ...pb.Authorization.create(),
      ...named,
      scope: -1 as pb.Scope,
      action: -1 as pb.Action,
    };
  }
  if (message.name === '') {
    problem('name is empty');
    if (named.name === '') return { value: undefined, problems };
    message = { ...message, ...named };
  }
  for (const part of unknownParts) problem(unknownText(part));
  const unknown = unknownParts.map(({ path }) => path);
  let scope = scopeNames.get(message.scope);
  if (!scope) {
    problem('scope of an unknown kind');
    scope = message.namespace === root || message.namespace === '' ? 'global' : 'namespace';
  }
  const action = actionNames.get(message.action);
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
    // A policy that was closed allows nothing.
    ...(message.weftStillAllows && message.dryRun && isWhole ? { stillAllows: true as const } : {}),
  };
  return { value, problems };
}

/** Decodes a policy; any unknown part is an error. */
export function decodeAuthorization(bytes: Uint8Array): Decoded<AuthorizationPolicy> {
  return strict(readAuthorization('', bytes, ''));
}
