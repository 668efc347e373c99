import type { Brand } from '../base/brand.js';
import type { Cidr } from './address.js';

/** `<namespace>/<name>` */
export type PolicyKey = Brand<string, 'PolicyKey'>;

export type StringMatch =
  | { readonly kind: 'exact'; readonly value: string }
  | { readonly kind: 'prefix'; readonly value: string }
  | { readonly kind: 'suffix'; readonly value: string }
  | { readonly kind: 'presence' };

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
}

/** istio.security.Authorization, parsed. Rules OR; a rule's clauses AND; a clause's matches OR. */
export interface AuthorizationPolicy {
  readonly key: PolicyKey;
  readonly name: string;
  readonly namespace: string;
  readonly scope: 'global' | 'namespace' | 'workload';
  readonly action: 'allow' | 'deny';
  readonly rules: readonly { readonly clauses: readonly { readonly matches: readonly PolicyMatch[] }[] }[];
  /** Recorded, never enforced. */
  readonly dryRun: boolean;
}
