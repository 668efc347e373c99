import type { Brand } from '../base/brand.js';
import type { Cidr } from './address.js';

/** `<namespace>/<name>` */
export type PolicyKey = Brand<string, 'PolicyKey'>;

export type StringMatch =
  | { readonly kind: 'exact'; readonly value: string }
  | { readonly kind: 'prefix'; readonly value: string }
  | { readonly kind: 'suffix'; readonly value: string }
  | { readonly kind: 'presence' };

export type PolicyPath =
  | { readonly kind: 'exact' | 'prefix' | 'suffix'; readonly value: string }
  /** Matched segment by segment: `*` matches any one segment, `**` (only as the last) all that follow, other text itself. */
  | { readonly kind: 'template'; readonly segments: readonly string[] }
  | RegexMatch;

/** An RE2 expression that matches a whole text. */
export interface RegexMatch {
  readonly kind: 'regex';
  readonly value: string;
}

/** Conditions on an HTTP request. Values of one field are ORed, fields are ANDed, as in PolicyMatch. */
export interface HttpMatch {
  readonly methods: readonly string[];
  readonly notMethods: readonly string[];
  readonly paths: readonly PolicyPath[];
  readonly notPaths: readonly PolicyPath[];
  /** In lower case, without port. */
  readonly hosts: readonly StringMatch[];
  readonly notHosts: readonly StringMatch[];
  /** Each header must match: one of its values, or, if negated, none of them. */
  readonly headers: readonly {
    readonly name: string;
    readonly values: readonly (StringMatch | RegexMatch)[];
    readonly negated: boolean;
  }[];
  /** Names of query parameters, of which the request must have one. */
  readonly parameters?: readonly string[];
  /** Each must match the claims of the request's valid token. */
  readonly claims?: readonly ClaimMatch[];
  /** The client's address, through as many proxies as are trusted. */
  readonly remoteIps?: readonly Cidr[];
  readonly notRemoteIps?: readonly Cidr[];
}

/** Conditions on the TLS ClientHello of a connection, combined as in PolicyMatch. */
export interface TlsMatch {
  /** SNI, in lower case. */
  readonly serverNames: readonly StringMatch[];
  readonly notServerNames: readonly StringMatch[];
}

/** Text matches by StringMatch; `presence` is any value but the empty text. */
export type ClaimValue =
  | StringMatch
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'boolean'; readonly value: boolean };

/** A claim has one of the values, or, if negated, none of them. A list has a value if one of its members is it. */
export interface ClaimMatch {
  /** Names from the outermost object inward. `iss`, `sub`, `aud` and `azp` are issuer, subject, audience and presenter. */
  readonly path: readonly string[];
  readonly values: readonly ClaimValue[];
  readonly negated: boolean;
}

/** Values of one field are ORed, fields are ANDed. A `not` field matches if none of its values matches. Empty fields match. */
export interface PolicyMatch {
  readonly namespaces: readonly StringMatch[];
  readonly notNamespaces: readonly StringMatch[];
  /** Compared without `spiffe://`. */
  readonly principals: readonly StringMatch[];
  readonly notPrincipals: readonly StringMatch[];
  readonly sourceIps: readonly Cidr[];
  readonly notSourceIps: readonly Cidr[];
  readonly destinationIps: readonly Cidr[];
  readonly notDestinationIps: readonly Cidr[];
  readonly destinationPorts: readonly number[];
  readonly notDestinationPorts: readonly number[];
  readonly serviceAccounts: readonly { readonly namespace: string; readonly serviceAccount: string }[];
  readonly notServiceAccounts: readonly { readonly namespace: string; readonly serviceAccount: string }[];
  /** Evaluated by the waypoint. src/policy/authorize.ts defines the result if no waypoint has read the request. */
  readonly http?: HttpMatch;
  /** Evaluated like `http`, from the connection's first bytes. */
  readonly tls?: TlsMatch;
}

/** A match without conditions: every HTTP request has it. */
export const emptyHttpMatch: HttpMatch = {
  methods: [],
  notMethods: [],
  paths: [],
  notPaths: [],
  hosts: [],
  notHosts: [],
  headers: [],
};

/** A match without fields. It matches nothing (src/policy/authorize.ts). */
export const emptyMatch: PolicyMatch = {
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

/** Matches every connection: no connection has port 0, and a match without fields would be ignored. */
export const alwaysMatch: PolicyMatch = { ...emptyMatch, notDestinationPorts: [0] };
export const neverMatch: PolicyMatch = {
  ...emptyMatch,
  principals: [{ kind: 'presence' }],
  notPrincipals: [{ kind: 'presence' }],
};

export const isEmptyMatch = (match: PolicyMatch): boolean =>
  Object.values(match).every((values: readonly unknown[] | undefined) => !values || values.length === 0);

/** istio.security.Authorization, parsed. Rules are ORed, the clauses of a rule ANDed, the matches of a clause ORed. */
export interface AuthorizationPolicy {
  readonly key: PolicyKey;
  readonly name: string;
  readonly namespace: string;
  readonly scope: 'global' | 'namespace' | 'workload';
  /** Services (`<namespace>/<hostname>`) whose waypoints authorize requests with this policy; empty: the policy applies by scope. */
  readonly services: readonly string[];
  readonly action: 'allow' | 'deny';
  readonly rules: readonly { readonly clauses: readonly { readonly matches: readonly PolicyMatch[] }[] }[];
  /** Audit mode: denials are recorded, never enforced. */
  readonly dryRun: boolean;
  /**
   * Set with `dryRun` if the mode is that of the namespace or the mesh (control/compile/audit.ts). Such an ALLOW policy restricts nobody, but
   * it allows as before where enforced ALLOW policies apply beside it: audit mode must refuse nothing that was allowed.
   */
  readonly stillAllows?: true;
}
