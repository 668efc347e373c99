/**
 * Translates the rules of an AuthorizationPolicy. Pure. A condition that Weft cannot evaluate closes its item: in a policy that allows the item
 * matches nothing, in one that denies it matches everything that its other conditions leave.
 */
import { errorText } from '../../../src/base/errors.js';
import {
  alwaysMatch,
  emptyHttpMatch,
  emptyMatch,
  isEmptyMatch,
  neverMatch,
  type AuthorizationPolicy,
  type HttpMatch,
  type PolicyMatch,
  type StringMatch,
  type TlsMatch,
} from '../../../src/model/policy.js';
import { policyPath } from '../../compile/paths.js';
import { cidrBlock, headerMatch, hostMatch, serverNameMatch } from '../../compile/policy-values.js';
import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationRule,
  AuthorizationSource,
} from '../../objects/istio-security.js';
import {
  claimCondition,
  claimOfKey,
  notPrincipalClaims,
  principalClaims,
  type Claims,
} from './token-conditions.js';

export type Rules = AuthorizationPolicy['rules'];
export interface CompiledRules {
  readonly rules: Rules;
  /** What is closed because of a value, one text each. */
  readonly closed: readonly string[];
}

/** Conditions that must all hold. */
interface Conditions {
  readonly layer4?: Partial<PolicyMatch>;
  readonly http?: Partial<HttpMatch>;
  readonly tls?: TlsMatch;
  /** One of the conditions cannot be evaluated. */
  readonly isClosed?: boolean;
}

/** As Istio reads a value: `*` alone is any value, `*` at the begin makes a suffix, at the end a prefix; elsewhere it is a character. */
function istioMatch(value: string): StringMatch {
  if (value === '*') return { kind: 'presence' };
  if (value.startsWith('*')) return { kind: 'suffix', value: value.slice(1) };
  if (value.endsWith('*')) return { kind: 'prefix', value: value.slice(0, -1) };
  return { kind: 'exact', value };
}

class RuleReader {
  readonly closed = new Set<string>();

  constructor(
    private readonly namespace: string,
    private readonly denies: boolean,
  ) {}

  rule(rule: AuthorizationRule, at: string): Rules[number] {
    // As no condition, an empty list would match everything.
    for (const field of ['from', 'to', 'when'] as const)
      if (rule[field]?.length === 0)
        throw new Error(`${at}.${field}: the list is empty; leave the field out`);
    const { from = [], to = [], when = [] } = rule;
    const clauses = [
      from.flatMap(({ source }, index) => this.#source(source ?? {}, `${at}.from[${index}].source`)),
      to.flatMap(({ operation }, index) => this.#operation(operation ?? {}, `${at}.to[${index}].operation`)),
      ...when.map((condition, index) => this.#when(condition, `${at}.when[${index}]`)),
    ];
    return {
      clauses: clauses.filter((matches) => matches.length > 0).map((matches) => ({ matches })),
    };
  }

  /** Several matches if the issuer and the subject of a token are to be compared together. */
  #source(source: AuthorizationSource, at: string): PolicyMatch[] {
    const lists = listsOf(source, at);
    const values = (field: keyof AuthorizationSource): readonly string[] => lists[field] ?? [];
    const blocks = (field: keyof AuthorizationSource) => values(field).map(cidrBlock(`${at}.${field}`));
    const accounts = (field: keyof AuthorizationSource) =>
      values(field).map((value) => this.#account(`${at}.${field}`, value));
    const domains = this.#trustDomains(values('trustDomains'), `${at}.trustDomains`);
    const principals = values('principals').map((value) => this.#principal(value));
    const tokens = this.#principals(values('requestPrincipals'), values('notRequestPrincipals'), at);
    const notDomains = this.#trustDomains(values('notTrustDomains'), `${at}.notTrustDomains`);
    // Both are compared with the identity, whose matches are alternatives.
    const isBoth = domains.matches.length > 0 && principals.length > 0;
    if (isBoth)
      this.closed.add(
        `${at}: principals and trustDomains together are not carried out; write principals only`,
      );
    const layer4: Partial<PolicyMatch> = {
      principals: isBoth ? principals : [...principals, ...domains.matches],
      notPrincipals: [
        ...values('notPrincipals').map((value) => this.#principal(value)),
        ...notDomains.matches,
      ],
      namespaces: values('namespaces').map(istioMatch),
      notNamespaces: values('notNamespaces').map(istioMatch),
      serviceAccounts: accounts('serviceAccounts'),
      notServiceAccounts: accounts('notServiceAccounts'),
      sourceIps: blocks('ipBlocks'),
      notSourceIps: blocks('notIpBlocks'),
    };
    const http = { remoteIps: blocks('remoteIpBlocks'), notRemoteIps: blocks('notRemoteIpBlocks') };
    const isClosed = !tokens || isBoth || domains.isClosed || notDomains.isClosed;
    return (tokens ?? [[]]).map((claims) => this.#match({ layer4, http: { ...http, claims }, isClosed }));
  }

  /** Alternatives of conditions on claims. Undefined: they cannot be compared. */
  #principals(is: readonly string[], isNot: readonly string[], at: string): Claims[] | undefined {
    const alternatives = is.length > 0 ? principalClaims(is.map(istioMatch)) : [[]];
    const negated = isNot.length > 0 ? notPrincipalClaims(isNot.map(istioMatch)) : [[]];
    if (negated && alternatives.length * negated.length <= alternativesMax)
      return alternatives.flatMap((one) => negated.map((other) => [...one, ...other]));
    this.closed.add(`${at}: too many issuers in principals of tokens; compare claims[iss] and claims[sub]`);
    return undefined;
  }

  /** Istio's principals have no `spiffe://`. Such a value matches nobody there: it allows nobody here, but it denies. */
  #principal(value: string): StringMatch {
    return istioMatch(this.denies ? value.replace(/^spiffe:\/\//i, '') : value);
  }

  /** `namespace/name`, or `name` in the policy's own namespace. */
  #account(field: string, value: string): { readonly namespace: string; readonly serviceAccount: string } {
    const parts = value.split('/');
    const [first = '', second] = parts;
    if (parts.length > 2 || first === '' || second === '' || value.includes('*'))
      throw new Error(
        `${field}: ${JSON.stringify(value)} is no service account: write namespace/name, or name`,
      );
    return second === undefined
      ? { namespace: this.namespace, serviceAccount: first }
      : { namespace: first, serviceAccount: second };
  }

  /** Trust domains as the begin of an identity. The end of a trust domain is in the middle of an identity, and cannot be compared. */
  #trustDomains(
    values: readonly string[],
    at: string,
  ): { readonly matches: readonly StringMatch[]; readonly isClosed: boolean } {
    const matches = values.map(istioMatch);
    const isClosed = matches.some(({ kind }) => kind === 'suffix');
    if (isClosed)
      this.closed.add(`${at}: values that begin with * are not carried out; write whole trust domains`);
    return {
      isClosed,
      matches: isClosed
        ? []
        : matches.map((match) =>
            match.kind === 'exact' ? { kind: 'prefix', value: `${match.value}/` } : match,
          ),
    };
  }

  /** Several matches if the hosts are to be compared with and without the port of the request. */
  #operation(operation: AuthorizationOperation, at: string): PolicyMatch[] {
    const lists = listsOf(operation, at);
    const values = (field: keyof AuthorizationOperation): readonly string[] => lists[field] ?? [];
    let isClosed = false;
    const read = <T>(field: keyof AuthorizationOperation, make: (value: string) => T): T[] => {
      try {
        return values(field).map(make);
      } catch (error) {
        // Not even the other values are left: the condition holds for requests with the value that cannot be read.
        this.closed.add(`${at}.${errorText(error)}`);
        isClosed = true;
        return [];
      }
    };
    const paths = read('paths', (value) => policyPath('paths', value));
    const notPaths = read('notPaths', (value) => policyPath('notPaths', value));
    const hosts = read('hosts', (value) => hostCondition('hosts', value));
    const notHosts = read('notHosts', (value) => hostCondition('notHosts', value));
    const methods = read('methods', (value) => methodOf('methods', value));
    const notMethods = read('notMethods', (value) => {
      if (value === '*') throw new Error('notMethods: "*": no request would be left');
      return methodOf('notMethods', value);
    });
    const hasEveryMethod = methods.includes('*');
    const common: Conditions = {
      layer4: {
        destinationPorts: values('ports').map((value) => portOf(`${at}.ports`, value)),
        notDestinationPorts: values('notPorts').map((value) => portOf(`${at}.notPorts`, value)),
      },
      http: {
        methods: hasEveryMethod ? [] : methods,
        // No request has an empty method: the condition holds for every request, and for nothing that is no request.
        notMethods: [...notMethods, ...(hasEveryMethod ? [''] : [])],
        paths,
        notPaths,
        notHosts: notHosts.flatMap(({ host }) => host ?? []),
        headers: hostHeaders(notHosts, true),
      },
      isClosed,
    };
    const plain = hosts.flatMap(({ host }) => host ?? []);
    const withPort = hostHeaders(hosts, false);
    const alternatives: Partial<HttpMatch>[] = [
      ...(plain.length > 0 || withPort.length === 0 ? [{ hosts: plain }] : []),
      ...(withPort.length > 0 ? [{ headers: [...(common.http?.headers ?? []), ...withPort] }] : []),
    ];
    return alternatives.map((more) => this.#match({ ...common, http: { ...common.http, ...more } }));
  }

  #when({ key, values: is = [], notValues: isNot = [] }: AuthorizationCondition, at: string): PolicyMatch[] {
    if (is.length === 0 && isNot.length === 0) throw new Error(`${at}: give values or notValues`);
    for (const [field, values] of [
      ['values', is],
      ['notValues', isNot],
    ] as const)
      if (values.includes('')) throw new Error(`${at}.${field}: a value is empty`);
    const fields = <T>(name: string, notName: string, make: (value: string) => T): PolicyMatch[] => [
      this.#match({ layer4: { [name]: is.map(make), [notName]: isNot.map(make) } }),
    ];
    const block = cidrBlock(`${at}.values`);
    const header = /^request\.headers\[([^\]]+)\]$/.exec(key)?.[1];
    if (header !== undefined) return [this.#header(header.toLowerCase(), is, isNot, at)];
    const claim = claimOfKey(key);
    if (claim)
      return [
        this.#match({ http: { claims: claimCondition(claim, is.map(istioMatch), isNot.map(istioMatch)) } }),
      ];
    switch (key) {
      case 'request.auth.principal': {
        const found = this.#principals(is, isNot, at);
        return (found ?? [[]]).map((claims) => this.#match({ http: { claims }, isClosed: !found }));
      }
      case 'remote.ip':
        return [this.#match({ http: { remoteIps: is.map(block), notRemoteIps: isNot.map(block) } })];
      case 'connection.sni':
        return [this.#serverNames(is, isNot, at)];
      case 'source.ip':
        return fields('sourceIps', 'notSourceIps', block);
      case 'source.namespace':
        return fields('namespaces', 'notNamespaces', istioMatch);
      case 'source.principal':
        return fields('principals', 'notPrincipals', (value) => this.#principal(value));
      case 'source.serviceAccount':
        return fields('serviceAccounts', 'notServiceAccounts', (value) =>
          this.#account(`${at}.values`, value),
        );
      case 'destination.ip':
        return fields('destinationIps', 'notDestinationIps', block);
      case 'destination.port':
        return fields('destinationPorts', 'notDestinationPorts', (value) => portOf(`${at}.values`, value));
    }
    if (!closedKeys.test(key)) throw new Error(`${at}.key: ${JSON.stringify(key)} is no key of Istio's`);
    this.closed.add(`${at}.key: ${JSON.stringify(key)} is not compared`);
    return [this.#match({ isClosed: true })];
  }

  #header(given: string, is: readonly string[], isNot: readonly string[], at: string): PolicyMatch {
    const name = given === ':authority' ? 'host' : given;
    try {
      if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name))
        throw new Error(`key: request.headers[${given}] is not compared`);
      const match = (value: string) => headerMatch('values', name, value);
      const headers = [
        { name, values: is.map(match), negated: false },
        { name, values: isNot.map(match), negated: true },
      ].filter(({ values }) => values.length > 0);
      return this.#match({ http: { headers } });
    } catch (error) {
      this.closed.add(`${at}.${errorText(error)}`);
      return this.#match({ isClosed: true });
    }
  }

  #serverNames(is: readonly string[], isNot: readonly string[], at: string): PolicyMatch {
    try {
      const serverNames = is.map((value) => serverNameMatch('values', value));
      const notServerNames = isNot.map((value) => serverNameMatch('notValues', value));
      return this.#match({ tls: { serverNames, notServerNames } });
    } catch (error) {
      this.closed.add(`${at}.${errorText(error)}`);
      return this.#match({ isClosed: true });
    }
  }

  #match({ layer4 = {}, http = {}, tls, isClosed = false }: Conditions): PolicyMatch {
    if (isClosed && !this.denies) return neverMatch;
    const request: HttpMatch = { ...emptyHttpMatch, ...http };
    const isOfRequests = Object.values(request).some((values: readonly unknown[]) => values.length > 0);
    const match = {
      ...emptyMatch,
      ...layer4,
      ...(isOfRequests ? { http: request } : {}),
      ...(tls ? { tls } : {}),
    };
    // A match without fields matches nothing: here nothing is left of the conditions but what cannot be evaluated.
    return isEmptyMatch(match) ? alwaysMatch : match;
  }
}

/** Keys of `when` whose conditions Weft cannot evaluate. */
const closedKeys = /^(request\.auth\.claims\[.+\]|experimental\.envoy\.filters\..+)$/;

/** Matches of one source. */
const alternativesMax = 256;

/** The lists of an item that have values. Error: there are none, or a value is empty. */
function listsOf<T extends object>(item: T, at: string): Partial<Record<keyof T, readonly string[]>> {
  const lists = Object.entries(item).filter(([, values]) => Array.isArray(values) && values.length > 0);
  if (lists.length === 0) throw new Error(`${at}: no field is set`);
  for (const [field, values] of lists)
    if ((values as readonly string[]).includes('')) throw new Error(`${at}.${field}: a value is empty`);
  return Object.fromEntries(lists) as Partial<Record<keyof T, readonly string[]>>;
}

function portOf(field: string, value: string): number {
  const port = /^[0-9]{1,5}$/.test(value) ? Number(value) : 0;
  if (port < 1 || port > 65535) throw new Error(`${field}: ${JSON.stringify(value)} is no port`);
  return port;
}

function methodOf(field: string, value: string): string {
  if (value !== '*' && value.includes('*'))
    throw new Error(`${field}: ${JSON.stringify(value)}: methods are compared as a whole`);
  return value;
}

interface HostCondition {
  /** Compared without the port of the request. */
  readonly host?: StringMatch;
  /** Compared with the port, which the client may leave out. */
  readonly withPort?: StringMatch;
}

/** A host with a port, or with `:*`, is compared with what the client sent. */
const hostCondition = (field: string, value: string): HostCondition =>
  /^(\[[^\]]*\]|[^:[\]]*):([0-9]+|\*)$/.test(value)
    ? { withPort: headerMatch(field, 'host', value) }
    : { host: hostMatch(field, value) };

function hostHeaders(hosts: readonly HostCondition[], negated: boolean): HttpMatch['headers'][number][] {
  const values = hosts.flatMap(({ withPort }) => withPort ?? []);
  return values.length === 0 ? [] : [{ name: 'host', values, negated }];
}

/**
 * Translates rules. Error: the field that cannot be read.
 * @param denies whether a matching rule denies, or records
 */
export function compileRules(
  rules: readonly AuthorizationRule[],
  namespace: string,
  denies: boolean,
): CompiledRules {
  const reader = new RuleReader(namespace, denies);
  const compiled = rules.map((rule, index) => reader.rule(rule, `rules[${index}]`));
  return { rules: compiled, closed: [...reader.closed] };
}
