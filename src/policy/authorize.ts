/**
 * The one decision about who may connect to whom, for every path. Any matching DENY denies; else, where at least one
 * ALLOW policy applies, one must match; else allowed. Semantics: istio.security.Authorization.
 */
import { cidrContains, type IpAddress } from '../model/address.js';
import { principalOf, workloadIdentityOf, type SpiffeId } from '../model/identity.js';
import type { AuthorizationPolicy, PolicyMatch, StringMatch } from '../model/policy.js';

export interface ConnectionFacts {
  /** Proven by TLS or by the kernel; undefined for plaintext from outside, which proves nothing. */
  readonly identity: SpiffeId | undefined;
  readonly sourceIp: IpAddress;
  readonly destinationIp: IpAddress;
  readonly destinationPort: number;
}

export interface Verdict {
  readonly allowed: boolean;
  readonly reason: 'no-policy' | 'allowed' | 'denied' | 'no-allow-matched';
  readonly policy?: string;
  /** Index of the rule in that policy. */
  readonly rule?: number;
  /** Policies in audit mode that would have denied. */
  readonly audited: readonly string[];
}

export function authorize(policies: readonly AuthorizationPolicy[], facts: ConnectionFacts): Verdict {
  const audited: string[] = [];
  for (const policy of policies) {
    if (policy.action !== 'deny') continue;
    const rule = matchingRule(policy, facts);
    if (rule === undefined) continue;
    if (!policy.dryRun) return { allowed: false, reason: 'denied', policy: policy.key, rule, audited };
    audited.push(policy.key);
  }
  const allows = policies.filter(({ action }) => action === 'allow');
  const enforced = allows.filter(({ dryRun }) => !dryRun);
  for (const policy of enforced) {
    const rule = matchingRule(policy, facts);
    if (rule !== undefined) return { allowed: true, reason: 'allowed', policy: policy.key, rule, audited };
  }
  if (enforced.length > 0) {
    // All of them together refuse it; name one, so that the reader has a place to look.
    return {
      allowed: false,
      reason: 'no-allow-matched',
      policy: enforced.map(({ key }) => key).join(','),
      audited,
    };
  }
  if (allows.length > 0 && !allows.some((policy) => matchingRule(policy, facts) !== undefined)) {
    audited.push(...allows.map(({ key }) => key));
  }
  return { allowed: true, reason: 'no-policy', audited };
}

function matchingRule(policy: AuthorizationPolicy, facts: ConnectionFacts): number | undefined {
  const index = policy.rules.findIndex(({ clauses }) =>
    // As peers do: a clause of no matches holds (an absent `from`), a match of no fields is skipped.
    clauses.every(({ matches }) => matches.length === 0 || matches.some((match) => matchHolds(match, facts))),
  );
  return index < 0 ? undefined : index;
}

function matchHolds(match: PolicyMatch, facts: ConnectionFacts): boolean {
  if (Object.values(match).every((values: readonly unknown[]) => values.length === 0)) return false;
  const identity = facts.identity && workloadIdentityOf(facts.identity);
  const principal = facts.identity && principalOf(facts.identity);
  const account = (one: { namespace: string; serviceAccount: string }): boolean =>
    identity !== undefined &&
    one.namespace === identity.namespace &&
    one.serviceAccount === identity.serviceAccount;
  return (
    field(match.namespaces, match.notNamespaces, (m) => stringMatches(m, identity?.namespace)) &&
    field(match.principals, match.notPrincipals, (m) => stringMatches(m, principal)) &&
    field(match.sourceIps, match.notSourceIps, (block) => cidrContains(block, facts.sourceIp)) &&
    field(match.destinationIps, match.notDestinationIps, (block) =>
      cidrContains(block, facts.destinationIp),
    ) &&
    field(match.destinationPorts, match.notDestinationPorts, (port) => port === facts.destinationPort) &&
    field(match.serviceAccounts, match.notServiceAccounts, account)
  );
}

function field<T>(values: readonly T[], negated: readonly T[], holds: (value: T) => boolean): boolean {
  return (values.length === 0 || values.some(holds)) && !negated.some(holds);
}

function stringMatches(match: StringMatch, value: string | undefined): boolean {
  if (value === undefined) return false;
  switch (match.kind) {
    case 'exact':
      return value === match.value;
    case 'prefix':
      return value.startsWith(match.value);
    case 'suffix':
      return value.endsWith(match.value);
    case 'presence':
      return value !== '';
  }
}
