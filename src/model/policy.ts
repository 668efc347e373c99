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
  /** Segment by segment: a text stands for itself, `*` for any one segment, `**` (the last) for all that follow. */
  | { readonly kind: 'template'; readonly segments: readonly string[] };

/** What only who reads HTTP can tell. Values of one field OR, fields AND, as in PolicyMatch. */
export interface HttpMatch {
  readonly methods: readonly string[];
  readonly notMethods: readonly string[];
  readonly paths: readonly PolicyPath[];
  readonly notPaths: readonly PolicyPath[];
  /** In lower case, without port. */
  readonly hosts: readonly StringMatch[];
  readonly notHosts: readonly StringMatch[];
  /** Each has to hold: one of its values, or (negated) none of them. */
  readonly headers: readonly {
    readonly name: string;
    readonly values: readonly StringMatch[];
    readonly negated: boolean;
  }[];
}

/** Values of one field OR, fields AND; a `not` field holds where none of its values matches. Empty fields hold. */
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
  /** Judged by the waypoint; src/policy/authorize.ts says what holds where none has read the request. */
  readonly http?: HttpMatch;
}

/** A match without fields: by itself it holds for nothing (src/policy/authorize.ts). */
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

export const isEmptyMatch = (match: PolicyMatch): boolean =>
  Object.values(match).every((values: readonly unknown[] | undefined) => !values || values.length === 0);

/** istio.security.Authorization, parsed. Rules OR; a rule's clauses AND; a clause's matches OR. */
export interface AuthorizationPolicy {
  readonly key: PolicyKey;
  readonly name: string;
  readonly namespace: string;
  readonly scope: 'global' | 'namespace' | 'workload';
  /** Services (`<namespace>/<hostname>`) whose requests it judges, at their waypoint; none: by scope. */
  readonly services: readonly string[];
  readonly action: 'allow' | 'deny';
  readonly rules: readonly { readonly clauses: readonly { readonly matches: readonly PolicyMatch[] }[] }[];
  /** Recorded, never enforced. */
  readonly dryRun: boolean;
}
