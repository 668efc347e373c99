/**
 * Authorizes connections and requests; every path uses this function. Any matching DENY denies. Otherwise, if at least one ALLOW policy
 * applies, one must match. Otherwise the connection is allowed. Semantics: istio.security.Authorization.
 */
import { cidrContains, type IpAddress } from '../model/address.js';
import { principalOf, workloadIdentityOf, type SpiffeId, type WorkloadIdentity } from '../model/identity.js';
import {
  isEmptyMatch,
  type AuthorizationPolicy,
  type HttpMatch,
  type PolicyMatch,
  type PolicyPath,
  type RegexMatch,
  type StringMatch,
  type TlsMatch,
} from '../model/policy.js';
import { claimHolds, type Claims } from './claims.js';
import { everyReaderMatches, someReaderMatches } from './path-match.js';
import { policyRegex } from './policy-regex.js';
import { stringMatches } from './string-match.js';

/** Attributes of an HTTP request, from the proxy that has read it. */
export interface HttpAttributes {
  readonly method: string;
  /** In lower case, without port. */
  readonly host: string;
  /**
   * The readings of the normalized path (`readingsOf`), or a single text if all readers agree. A rule that denies is evaluated against
   * each reading; a rule that allows must match all readings.
   */
  readonly paths: readonly string[];
  /** All values of a header (name in lower case), joined by commas; undefined if the header is absent. */
  readonly header: (name: string) => string | undefined;
  /** Whether some endpoint finds a query parameter of this name. Absent: unknown. */
  readonly hasParameter?: (name: string) => boolean;
  /** Claims of the request's valid token. Undefined: it has none. */
  readonly claims?: Claims | undefined;
  /** The namespace whose settings say which tokens are valid. */
  readonly claimsNamespace?: string | undefined;
  /** The client's address, through as many proxies as are trusted. Undefined: unknown. */
  readonly remoteIp?: IpAddress | undefined;
}

export interface ConnectionAttributes {
  /** Proven by TLS or by the kernel; undefined for plaintext from outside of the mesh, which proves no identity. */
  readonly identity: SpiffeId | undefined;
  readonly sourceIp: IpAddress;
  readonly destinationIp: IpAddress;
  readonly destinationPort: number;
  /**
   * The request's attributes, or that the destination's waypoint has authorized the request. Absent: no proxy has read the request. A
   * match with HTTP conditions is then treated conservatively: it denies if it could deny some request, and it allows nothing.
   */
  readonly http?: HttpAttributes | 'authorized-by-waypoint';
  /**
   * The name in the connection's TLS ClientHello (SNI, RFC 6066), in lower case, from the proxy that has read it. Absent: the ClientHello was
   * not read or names no host. A match with TLS conditions is then treated conservatively, as `http`.
   */
  readonly serverName?: string | undefined;
}

export interface Verdict {
  readonly allowed: boolean;
  readonly reason: 'no-policy' | 'allowed' | 'denied' | 'no-allow-matched';
  readonly policy?: string;
  /** Index of the rule in that policy. */
  readonly rule?: number;
  /** Names of claims that the policies compare which denied the request, and whether it had a valid token. Absent: none. */
  readonly claims?: { readonly names: readonly string[]; readonly hasToken: boolean };
  /** Set if the policies compare server names: the connection's. Empty: none was read. */
  readonly serverName?: string;
  /** Policies in audit mode that would have denied. */
  readonly audited: readonly string[];
}

/** The reason for a denial, for logs. */
export const denialReason = ({ reason, policy, rule, claims, serverName }: Verdict): string => {
  const decision =
    reason === 'denied' ? `policy ${policy} rule ${rule} denies it` : `no rule of ${policy} allows it`;
  const why = decision + serverNameText(serverName);
  if (!claims) return why;
  return `${why}; claims: ${claims.names.join(', ')}, ${claims.hasToken ? 'of a valid token' : 'and there is no valid token'}`;
};

/** Of a connection that policies compare by a TLS server name, if it has none that can be read. */
export const noServerName = 'TLS server name: none was read';

const serverNameText = (name: string | undefined): string => {
  if (name === undefined) return '';
  return name === '' ? `; ${noServerName}` : `; TLS server name: ${name}`;
};

type Rules = AuthorizationPolicy['rules'];
function* claimNames(rules: Rules): Generator<string> {
  for (const { clauses } of rules)
    for (const { matches } of clauses)
      for (const { http } of matches) for (const { path } of http?.claims ?? []) yield path.join('.');
}

const claimNamesMax = 8;

/** The claims that rules compare with a request that they deny, for the log. */
function comparedClaims(rules: Rules, { http }: ConnectionAttributes): Pick<Verdict, 'claims'> {
  if (typeof http !== 'object') return {};
  const names = new Set<string>();
  for (const name of claimNames(rules)) {
    names.add(name);
    if (names.size >= claimNamesMax) break;
  }
  return names.size === 0 ? {} : { claims: { names: [...names], hasToken: http.claims !== undefined } };
}

/** The server name that rules compare with what they deny, for the log. */
function comparedServerName(
  rules: Rules,
  { http, serverName = '' }: ConnectionAttributes,
): Pick<Verdict, 'serverName'> {
  // The agent does not know what the waypoint has read.
  if (http === 'authorized-by-waypoint') return {};
  const isCompared = rules.some(({ clauses }) =>
    clauses.some(({ matches }) => matches.some(({ tls }) => tls !== undefined)),
  );
  return isCompared ? { serverName } : {};
}

const comparedValues = (
  rules: Rules,
  attributes: ConnectionAttributes,
): Pick<Verdict, 'claims' | 'serverName'> => ({
  ...comparedClaims(rules, attributes),
  ...comparedServerName(rules, attributes),
});

/** Authorizes a connection, or a request if its attributes are given, by all policies that apply to the destination. Pure. */
export function authorize(
  policies: readonly AuthorizationPolicy[],
  attributes: ConnectionAttributes,
): Verdict {
  if (policies.length === 0) return { allowed: true, reason: 'no-policy', audited: [] };
  const parsed = parseAttributes(attributes);
  const audited: string[] = [];
  for (const policy of policies) {
    if (policy.action !== 'deny') continue;
    const rule = matchingRule(policy, parsed);
    if (rule === undefined) continue;
    if (!policy.dryRun) {
      const compared = comparedValues(policy.rules.slice(rule, rule + 1), attributes);
      return { allowed: false, reason: 'denied', policy: policy.key, rule, ...compared, audited };
    }
    audited.push(policy.key);
  }
  const allows = policies.filter(({ action }) => action === 'allow');
  const enforced = allows.filter(({ dryRun }) => !dryRun);
  // ALLOW policies that would be enforced if their namespace or the mesh were not in audit mode.
  const suspended = allows.filter(({ dryRun, stillAllows }) => dryRun && stillAllows);
  if (enforced.length > 0) {
    for (const policy of [...enforced, ...suspended]) {
      const rule = matchingRule(policy, parsed);
      if (rule !== undefined) return { allowed: true, reason: 'allowed', policy: policy.key, rule, audited };
    }
    // No single policy denies, so the verdict names all enforced ALLOW policies.
    return {
      allowed: false,
      reason: 'no-allow-matched',
      policy: enforced.map(({ key }) => key).join(','),
      ...comparedValues(
        enforced.flatMap(({ rules }) => rules),
        attributes,
      ),
      audited,
    };
  }
  const recorded = suspended.length > 0 ? suspended : allows;
  if (recorded.length > 0 && !recorded.some((policy) => matchingRule(policy, parsed) !== undefined))
    audited.push(...recorded.map(({ key }) => key));
  return { allowed: true, reason: 'no-policy', audited };
}

/** Attributes of a connection with its identity parsed once for all rules. */
interface ParsedAttributes extends ConnectionAttributes {
  readonly workload: WorkloadIdentity | undefined;
  readonly principal: string | undefined;
}

const parseAttributes = (attributes: ConnectionAttributes): ParsedAttributes => ({
  ...attributes,
  workload: attributes.identity && workloadIdentityOf(attributes.identity),
  principal: attributes.identity && principalOf(attributes.identity),
});

function matchingRule(policy: AuthorizationPolicy, attributes: ParsedAttributes): number | undefined {
  const index = policy.rules.findIndex(({ clauses }) =>
    // As in other implementations: a clause without matches holds (an absent `from`); a match without fields is skipped.
    clauses.every(
      ({ matches }) =>
        matches.length === 0 || matches.some((match) => ruleMatchHolds(match, attributes, policy)),
    ),
  );
  return index < 0 ? undefined : index;
}

function ruleMatchHolds(match: PolicyMatch, attributes: ParsedAttributes, policy: PolicyOfMatch): boolean {
  const { workload } = attributes;
  const account = (one: { namespace: string; serviceAccount: string }): boolean =>
    workload !== undefined &&
    one.namespace === workload.namespace &&
    one.serviceAccount === workload.serviceAccount;
  return (
    field(match.namespaces, match.notNamespaces, (m) => stringMatches(m, workload?.namespace)) &&
    field(match.principals, match.notPrincipals, (m) => stringMatches(m, attributes.principal)) &&
    field(match.sourceIps, match.notSourceIps, (block) => cidrContains(block, attributes.sourceIp)) &&
    field(match.destinationIps, match.notDestinationIps, (block) =>
      cidrContains(block, attributes.destinationIp),
    ) &&
    field(match.destinationPorts, match.notDestinationPorts, (port) => port === attributes.destinationPort) &&
    field(match.serviceAccounts, match.notServiceAccounts, account) &&
    // Evaluated last: hardly any of thousands of rules gets this far.
    (match.tls === undefined || tlsHolds(match.tls, attributes, policy)) &&
    (match.http ? httpHolds(match.http, attributes, policy) : !isEmptyMatch(match))
  );
}

/** A name that was not read takes access away. */
function tlsHolds(
  { serverNames, notServerNames }: TlsMatch,
  { http, serverName }: ParsedAttributes,
  { action }: PolicyOfMatch,
): boolean {
  const denies = action === 'deny';
  if (http === 'authorized-by-waypoint') return !denies;
  if (serverName === undefined) return denies;
  return field(serverNames, notServerNames, (one) => stringMatches(one, serverName));
}

type PolicyOfMatch = Pick<AuthorizationPolicy, 'action' | 'namespace'>;

function httpHolds(
  match: HttpMatch,
  { http, workload }: ParsedAttributes,
  { action, namespace }: PolicyOfMatch,
): boolean {
  const denies = action === 'deny';
  // The waypoint has evaluated the HTTP conditions and would have refused the request: here an ALLOW matches and a DENY does not.
  if (http === 'authorized-by-waypoint') return !denies;
  if (http === undefined) return denies;
  const [holdsFor, holdsForOther] = denies
    ? [someReaderMatches, everyReaderMatches]
    : [everyReaderMatches, someReaderMatches];
  // An expression that cannot be evaluated takes access away.
  const evaluated = (one: RegexMatch, text: string): boolean | undefined =>
    policyRegex(namespace, workload?.namespace ?? '', one, text);
  const regex = (one: RegexMatch, text: string): boolean => evaluated(one, text) ?? denies;
  const notRegex = (one: RegexMatch, text: string): boolean => evaluated(one, text) ?? !denies;
  const path = (one: PolicyPath): boolean => holdsFor(one, http.paths, regex);
  // Reversed for `notPaths`, which excludes requests from the rule.
  const notPath = (one: PolicyPath): boolean => holdsForOther(one, http.paths, notRegex);
  // Methods are case-sensitive, but not every endpoint distinguishes case: a DENY covers both readings.
  const upper = http.method.toUpperCase();
  const method = (one: string): boolean => one === http.method || (denies && one === upper);
  const notMethod = (one: string): boolean => one === http.method || (!denies && one === upper);
  return (
    (match.methods.length === 0 || match.methods.some(method)) &&
    !match.notMethods.some(notMethod) &&
    (match.paths.length === 0 || match.paths.some(path)) &&
    !match.notPaths.some(notPath) &&
    field(match.hosts, match.notHosts, (host) => stringMatches(host, http.host)) &&
    remoteIpHolds(match, http.remoteIp, denies) &&
    (match.claims === undefined || match.claims.every((one) => claimHolds(one, http.claims))) &&
    (match.parameters === undefined ||
      match.parameters.some((name) => (http.hasParameter ? http.hasParameter(name) : denies))) &&
    match.headers.every(({ name, values, negated }) => {
      const value = http.header(name);
      // Endpoints read a repeated header as a list or as one of its values: a condition that takes access away matches any of these.
      const parts = denies !== negated && value?.includes(',') ? value.split(',') : [];
      const matches = (one: StringMatch | RegexMatch, text: string | undefined): boolean =>
        one.kind === 'regex'
          ? text !== undefined && (negated ? notRegex : regex)(one, text)
          : stringMatches(one, text);
      const holds = (one: StringMatch | RegexMatch): boolean =>
        matches(one, value) || parts.some((part) => matches(one, part.trim()));
      return values.some(holds) !== negated;
    })
  );
}

/** An unknown address takes access away. */
function remoteIpHolds(
  { remoteIps = [], notRemoteIps = [] }: HttpMatch,
  ip: IpAddress | undefined,
  denies: boolean,
): boolean {
  if (remoteIps.length + notRemoteIps.length === 0) return true;
  return ip === undefined ? denies : field(remoteIps, notRemoteIps, (block) => cidrContains(block, ip));
}

function field<T>(values: readonly T[], negated: readonly T[], holds: (value: T) => boolean): boolean {
  return (values.length === 0 || values.some(holds)) && !negated.some(holds);
}
